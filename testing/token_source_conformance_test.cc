// SPDX-License-Identifier: Apache-2.0
//
// Runs TokenSourceConformanceTest on the library's own sources.

#include "refreshable/testing/token_source_conformance.h"

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/scripted_source.h"
#include "refreshable/testing/token_server_test_util.h"
#include "refreshable/token_source.h"

namespace refreshable_testing {
namespace {

using ::refreshable::BlockingSource;
using ::refreshable::Credential;
using ::refreshable::Expiry;
using ::refreshable::FetchContext;
using ::refreshable::TokenSource;

absl::StatusOr<Credential<std::string>> Ask(FakeTokenServer& mint,
                                            const FetchContext& context) {
  absl::StatusOr<std::string> token = mint.Issue(GiveUpWhen(context));
  if (!token.ok()) return token.status();
  return Credential<std::string>(*std::move(token), Expiry::In(kMintLifetime));
}

class BlockingRig final : public MintRig {
 public:
  using MintRig::MintRig;

  std::shared_ptr<TokenSource<std::string>> Make() override {
    return BlockingSource<std::string>(
        [this](const FetchContext& context) { return Ask(mint_, context); });
  }
};

class ScriptedRig final : public MintRig {
 public:
  ScriptedRig() {
    script_.AlwaysWith(
        [this](const FetchContext& context) { return Ask(mint_, context); });
  }

  std::shared_ptr<TokenSource<std::string>> Make() override {
    return script_.Share();
  }

 private:
  ScriptedSource<std::string> script_;
};

// A type of token without operator==.
struct Key {
  int number;
};

// A rig with only the required method.
class PlainRig final : public TokenSourceRig<Key> {
 public:
  std::shared_ptr<TokenSource<Key>> Make() override {
    return BlockingSource<Key>([]() -> absl::StatusOr<Credential<Key>> {
      return Credential<Key>(Key{1}, Expiry::Never());
    });
  }
};

INSTANTIATE_TEST_SUITE_P(
    T3, TokenSourceConformanceTest,
    ::testing::Values(
        TokenSourceSubject{"Blocking",
                           [] { return std::make_unique<BlockingRig>(); }},
        TokenSourceSubject{"BlockingInVirtualTime",
                           [] { return std::make_unique<BlockingRig>(true); }},
        TokenSourceSubject{"Scripted",
                           [] { return std::make_unique<ScriptedRig>(); }},
        TokenSourceSubject{"Plain",
                           [] { return std::make_unique<PlainRig>(); }}),
    SubjectName());

}  // namespace
}  // namespace refreshable_testing
