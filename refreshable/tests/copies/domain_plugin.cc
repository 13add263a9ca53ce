// SPDX-License-Identifier: Apache-2.0
//
// A plug-in that uses the hazard domain and nothing else of the library.

#include <atomic>
#include <utility>

#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/tests/copies/plugin.h"

namespace refreshable {
namespace {

using internal::HazardCell;
using internal::HazardDomain;
using internal::HazardHolder;
using internal::HazardNode;

std::atomic<int> nodes_alive{0};

struct Node final : HazardNode {
  Node() { ++nodes_alive; }
  ~Node() override { --nodes_alive; }
};

struct Published {
  HazardDomain& domain = HazardDomain::Current();
  HazardCell cell{new Node};
};

Published& ThePublished() {
  static auto* const published = new Published;
  return *published;
}

HazardHolder TryRead() {
  Published& published = ThePublished();
  if (!HazardDomain::AtHand(&published.domain)) return HazardHolder();
  return HazardHolder(
      HazardDomain::TryProtect(&published.domain, published.cell));
}

void* Read() {
  HazardHolder hold = TryRead();
  if (hold.node() == nullptr) {
    hold = ThePublished().domain.Protect(ThePublished().cell);
  }
  return new HazardHolder(std::move(hold));
}

constexpr PluginApi kApi = {
    [] { HazardDomain::Current().ForceSymmetricForTesting(); },
    [] {
      Published& published = ThePublished();
      published.domain.Retire(published.cell.exchange(new Node));
    },
    Read,
    [](void* lease) { delete static_cast<HazardHolder*>(lease); },
    [] {
      ThePublished();
      return nodes_alive.load();
    },
    [] { return TryRead().node() != nullptr; },
    [] {},
};

}  // namespace
}  // namespace refreshable

const refreshable::PluginApi* GetPlugin() { return &refreshable::kApi; }
