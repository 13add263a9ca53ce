// SPDX-License-Identifier: Apache-2.0
//
// Lease: what a read hands out.

#ifndef REFRESHABLE_LEASE_H_
#define REFRESHABLE_LEASE_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <ostream>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/generation.h"
#include "refreshable/internal/abi.h"
#include "refreshable/internal/hazard_domain.h"
#include "refreshable/internal/printing.h"

namespace refreshable {

namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

// What is published: one token under one generation.
template <typename Token>
struct Snapshot {
  std::shared_ptr<const Token> token;
  Generation generation;
  absl::Time expires_at;
  bool degraded = false;
  // The bytes have been the same since this generation.
  Generation same_since;
};

// Later than the infinite past alone.
constexpr int64_t kNeverWithoutAsking = std::numeric_limits<int64_t>::min() + 1;

// When reads of the node have to ask; see `Published`.
struct TimedNode : HazardNode {
  explicit TimedNode(bool nothing) : is_nothing(nothing) {}

  // Stands for no snapshot, and is never retired.
  const bool is_nothing;
  // In ticks of the coarse clock, and in nanoseconds since 1970.
  mutable std::atomic<int64_t> check_ticks{kNeverWithoutAsking};
  mutable std::atomic<int64_t> check_nanos{kNeverWithoutAsking};
};

// A snapshot in its cell. Immutable, but for when reads have to ask.
template <typename Token>
struct SnapshotNode final : TimedNode {
  explicit SnapshotNode(Snapshot<Token> s)
      : TimedNode(/*nothing=*/false), snapshot(std::move(s)) {}

  const Snapshot<Token> snapshot;
};

template <typename Token>
class Published;

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal

template <typename Token>
class Refreshable;

REFRESHABLE_ABI_NAMESPACE_BEGIN

// Holds one published token. Whoever holds it may read the token for as long as
// it likes: the bytes stay valid though the token expires or is replaced, and
// though the Refreshable, its executor and the thread that read it are gone.
// They are freed promptly after the last lease (and share) has ended.
//
// Move-only; moving does not throw. A moved-from lease may only be destroyed or
// assigned to. Different threads may use different leases of one token; one
// lease may be handed from thread to thread.
template <typename Token>
class Lease {
 public:
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&&) noexcept = default;

  const Token& token() const { return *snapshot().token; }
  // What to name as `ReadOptions::rejected` when a server rejects the token.
  Generation generation() const { return snapshot().generation; }
  // Wall time; infinite future if the token never expires.
  absl::Time expires_at() const { return snapshot().expires_at; }
  // The token has expired and is served all the same, because refreshes fail
  // and `RefreshPolicy::max_stale_on_error` allows it.
  bool degraded() const { return snapshot().degraded; }

  // The token, shared: for code that keeps it beyond the lease.
  std::shared_ptr<const Token> Share() const { return snapshot().token; }

  // Shows generation, expiry and degradation, and nothing of the token.
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
  friend class internal::Published<Token>;
  friend class Refreshable<Token>;

  explicit Lease(internal::HazardHold hold) : hold_(std::move(hold)) {}

  const internal::Snapshot<Token>& snapshot() const {
    return static_cast<const internal::SnapshotNode<Token>*>(hold_.node())
        ->snapshot;
  }

  internal::HazardHold hold_;
};

// GoogleTest would print the bytes of what a read returns.
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
