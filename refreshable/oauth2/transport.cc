// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/transport.h"

#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace refreshable {
namespace oauth2 {
namespace {

constexpr absl::string_view kNotSentUrl = "refreshable/oauth2/not-sent";

using Function = std::function<absl::StatusOr<HttpAnswer>(const TokenRequest&,
                                                          const SendOptions&)>;

class FunctionTransport final : public Transport {
 public:
  explicit FunctionTransport(Function function)
      : function_(std::move(function)) {}

  void Send(TokenRequest request, SendOptions options, Done done) override {
    done(function_(request, options));
  }

 private:
  const Function function_;
};

}  // namespace

std::shared_ptr<Transport> BlockingTransport(Function function) {
  if (function == nullptr) return nullptr;
  return std::make_shared<FunctionTransport>(std::move(function));
}

absl::Status NotSent(absl::Status status) {
  status.SetPayload(kNotSentUrl, absl::Cord());
  return status;
}

bool WasNotSent(const absl::Status& status) {
  return status.GetPayload(kNotSentUrl).has_value();
}

}  // namespace oauth2
}  // namespace refreshable
