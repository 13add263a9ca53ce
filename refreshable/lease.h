// SPDX-License-Identifier: Apache-2.0
//
// Lease: what a read returns. It keeps one token alive.

#ifndef REFRESHABLE_LEASE_H_
#define REFRESHABLE_LEASE_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <ostream>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/generation.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/internal/abi.h"
#include "refreshable/internal/printing.h"

namespace refreshable {

namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

// One published token with its generation and expiry. Only `Lease<Token>` knows
// the type to which `token` points.
struct Snapshot {
  std::shared_ptr<const void> token;
  Generation generation;
  absl::Time expires_at;
  // The number of generations directly before `generation` whose tokens are
  // known to equal `token`. UINT32_MAX stands for larger numbers, too.
  uint32_t equal_before = 0;
  bool degraded = false;

  // The first generation whose token is known to equal `token`.
  Generation same_since() const {
    return Generation(generation.value() - equal_before);
  }
};

// Every clock is past this time, so each read asks the machine
// (refresh_machine.h).
constexpr int64_t kAlwaysAskMachine = std::numeric_limits<int64_t>::min();

// What a `SnapshotCell` holds: a snapshot, or "no snapshot". From the node's
// *check time* on, a read must ask the machine before it returns the snapshot.
struct TimedNode : HazardNode {
  explicit TimedNode(bool nothing) : is_nothing(nothing) {}

  // A node for "no snapshot" is never freed.
  const bool is_nothing;
  // The check time, in ticks of the coarse wall clock and in nanoseconds since
  // 1970.
  mutable std::atomic<int64_t> check_ticks{kAlwaysAskMachine};
  mutable std::atomic<int64_t> check_nanos{kAlwaysAskMachine};
  // From these times on, TryGet must ask the machine. They are in ticks of the
  // coarse wall clock and of the coarse boot clock.
  mutable std::atomic<int64_t> usable_ticks{kAlwaysAskMachine};
  mutable std::atomic<int64_t> usable_boot_ticks{kAlwaysAskMachine};
};

// Immutable, except for the times in TimedNode.
struct SnapshotNode final : TimedNode {
  explicit SnapshotNode(Snapshot s)
      : TimedNode(/*nothing=*/false), snapshot(std::move(s)) {}

  const Snapshot snapshot;
};

// Requires: `hold` holds a SnapshotNode.
inline const Snapshot& SnapshotOf(const HazardHolder& hold) {
  return static_cast<const SnapshotNode*>(hold.node())->snapshot;
}

REFRESHABLE_ABI_NAMESPACE_END

template <typename Token>
class TypedShell;

}  // namespace internal

template <typename Token>
class Refreshable;

REFRESHABLE_ABI_NAMESPACE_BEGIN

// Keeps one published token alive. The token's bytes stay valid as long as the
// lease exists. This holds even if the token is replaced, and even if the
// Refreshable, its executor and the reading thread are gone. The bytes are
// freed promptly once no Refreshable, lease or pointer from `Share` keeps them
// alive.
//
// A lease must not outlive a shared library (plug-in) whose code made the
// lease, its token or its Refreshable. The same holds for a pointer from
// `Share`.
//
// Move-only; moving does not throw. A moved-from lease may only be destroyed or
// assigned to. Several threads may read one lease at the same time. A lease may
// be moved to another thread.
template <typename Token>
class Lease {
 public:
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&&) noexcept = default;

  const Token& token() const {
    return *static_cast<const Token*>(snapshot().token.get());
  }
  // If a server rejects the token, pass this as `ReadOptions::rejected`.
  Generation generation() const { return snapshot().generation; }
  // When the token expires, in wall time; the infinite future if never.
  absl::Time expires_at() const { return snapshot().expires_at; }
  // Whether the token had expired when it was read, and was served because
  // refreshes failed (`RefreshPolicy::max_stale_on_error`). Does not change
  // later.
  bool degraded() const { return snapshot().degraded; }

  // Returns a pointer that keeps the token alive without the lease.
  std::shared_ptr<const Token> Share() const {
    return std::static_pointer_cast<const Token>(snapshot().token);
  }

  // Writes nothing of the token itself.
  friend std::ostream& operator<<(std::ostream& os, const Lease& lease) {
    return os << "Lease(generation " << lease.generation() << ", expires "
              << Expiry::At(lease.expires_at())
              << (lease.degraded() ? ", degraded)" : ")");
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const Lease& lease) {
    sink.Append(internal::Streamed(lease));
  }

 private:
  friend class internal::TypedShell<Token>;
  friend class Refreshable<Token>;

  explicit Lease(internal::HazardHolder hold) : hold_(std::move(hold)) {}

  const internal::Snapshot& snapshot() const {
    return internal::SnapshotOf(hold_);
  }

  internal::HazardHolder hold_;
};

// GoogleTest calls this. Otherwise it might print the bytes of the StatusOr.
template <typename Token>
void PrintTo(const absl::StatusOr<Lease<Token>>& result, std::ostream* os) {
  if (result.ok()) {
    *os << *result;
  } else {
    *os << result.status();
  }
}

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace refreshable

#endif  // REFRESHABLE_LEASE_H_
