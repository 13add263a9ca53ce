// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/source.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/internal/os_thread.h"

namespace refreshable {
namespace oauth2 {
namespace internal {
namespace {

using Fate = PresentedToken::Fate;

// What the source needs for a request. A thread that is inside a `done` must
// not destroy a Config, because the destructor of a transport or of a
// supplier's source may join that thread.
struct Config {
  Endpoint endpoint;
  ClientAuthentication client;
  bool signs = false;  // Whether the last supplier is `client_assertion`.
  Grant grant;
  std::shared_ptr<Transport> transport;
  // The suppliers of the grant, then `SourceOptions::client_assertion`. They
  // are asked in this order.
  std::vector<TokenSupplier> suppliers;
};

// The owner of a Config, which threads may borrow until `Close`. `Close`
// destroys the Config. If the Config is borrowed, a new thread destroys it
// after the last Return. A Lender uses no lock, because the child of a fork()
// could find the lock held forever.
class Lender {
 public:
  explicit Lender(Config config) : config_(new Config(std::move(config))) {}
  Lender(const Lender&) = delete;
  Lender& operator=(const Lender&) = delete;
  ~Lender() { delete config_.load(); }

  // Returns null if the Lender is closed. Otherwise the caller must call
  // Return.
  const Config* Borrow() {
    if ((users_.fetch_add(kUser) & kClosed) == 0) return config_.load();
    Return();
    return nullptr;
  }
  void Return() {
    if (users_.fetch_sub(kUser) != (kUser | kClosed)) return;
    // A Borrow that finds the Lender closed calls Return too. By then `Close`
    // or an earlier Return may have taken the Config.
    Config* const last = config_.exchange(nullptr);
    if (last == nullptr) return;
    executors_internal::OsThread thread;
    // If the system refuses the thread, the Config is leaked.
    if (thread.Start([last] { delete last; })) thread.Detach();
  }
  void Close() {
    if (users_.fetch_or(kClosed) == 0) delete config_.exchange(nullptr);
  }
  bool closed() const { return (users_.load() & kClosed) != 0; }

 private:
  // `users_` is the sum of kUser for each borrower and, after Close, kClosed.
  static constexpr int64_t kClosed = 1;
  static constexpr int64_t kUser = 2;

  std::atomic<int64_t> users_{0};
  std::atomic<Config*> config_;
};

// A borrowed Config. A Loan converts to false if the Lender was closed.
class Loan {
 public:
  explicit Loan(Lender* lender) : lender_(lender), config_(lender->Borrow()) {}
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  ~Loan() {
    if (config_ != nullptr) lender_->Return();
  }

  explicit operator bool() const { return config_ != nullptr; }
  const Config* operator->() const { return config_; }

 private:
  Lender* const lender_;
  const Config* const config_;
};

struct Attempt {
  Attempt(const FetchContext& c, SecretSource::Done d)
      : context(c), done(std::move(d)) {}

  FetchContext context;
  SecretSource::Done done;
  // The end of the timeout. This is on the operating system's clock, because a
  // source does not know the executor. No timer waits for this moment.
  BootTime deadline = SystemClock::Get().Now().boot + context.timeout();
  // Only attempts with a RefreshTokenGrant take turns. Set when the turn
  // begins.
  std::optional<RefreshTokens::Turn> turn;
  std::vector<Secret> supplied;  // The answers of `Config::suppliers` so far.
};

absl::Status Cancelled() {
  return absl::CancelledError("the attempt was cancelled");
}

BootTime Now() { return SystemClock::Get().Now().boot; }

// Returns OK if the attempt should still send its request.
absl::Status Wanted(const FetchContext& context, BootTime now,
                    BootTime deadline) {
  if (context.cancelled()) return Cancelled();
  if (now >= deadline) {
    return absl::DeadlineExceededError(
        "the attempt's timeout passed before the request could be sent");
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenRequest> BuildRequest(const Config& config,
                                          Attempt& attempt) {
  ClientAuthentication client = config.client;
  std::vector<Secret>& supplied = attempt.supplied;
  if (config.signs) client.secret = std::move(supplied.back());
  if (const auto* exchange = std::get_if<TokenExchangeGrant>(&config.grant)) {
    ExchangeTokens tokens;
    tokens.subject_token = std::move(supplied[0]);
    tokens.subject_token_type = exchange->subject_token_type;
    if (!exchange->actor_token.is_null()) {
      tokens.actor_token = std::move(supplied[1]);
      if (tokens.actor_token.empty()) {
        return absl::InvalidArgumentError(
            "OAuth 2.0: the actor token is empty");
      }
    }
    tokens.actor_token_type = exchange->actor_token_type;
    tokens.requested_token_type = exchange->requested_token_type;
    return TokenExchangeRequest(config.endpoint, client, tokens);
  }
  if (std::holds_alternative<JwtBearerGrant>(config.grant)) {
    return JwtBearerRequest(config.endpoint, client, supplied[0]);
  }
  if (attempt.turn.has_value()) {
    return RefreshTokenRequest(config.endpoint, client, attempt.turn->token());
  }
  return ClientCredentialsRequest(config.endpoint, client);
}

Config ConfigOf(SourceOptions& options) {
  Config config;
  config.endpoint = std::move(options.endpoint);
  config.client = std::move(options.client);
  config.grant = std::move(options.grant);
  config.transport = std::move(options.transport);
  if (const auto* jwt = std::get_if<JwtBearerGrant>(&config.grant)) {
    config.suppliers.push_back(jwt->assertion);
  }
  if (const auto* exchange = std::get_if<TokenExchangeGrant>(&config.grant)) {
    config.suppliers.push_back(exchange->subject_token);
    if (!exchange->actor_token.is_null()) {
      config.suppliers.push_back(exchange->actor_token);
    }
  }
  if (!options.client_assertion.is_null()) {
    config.signs = true;
    config.suppliers.push_back(options.client_assertion);
  }
  return config;
}

std::shared_ptr<RefreshTokens> TokensOf(const Grant& grant) {
  const auto* refresh = std::get_if<RefreshTokenGrant>(&grant);
  return refresh == nullptr ? nullptr : refresh->tokens;
}

AnswerOptions AnswerOptionsOf(SourceOptions& options) {
  AnswerOptions answer = std::move(options.answer);
  // RFC 8693, section 2.2.1: "N_A" is the type of a token that is not an access
  // token.
  if (std::holds_alternative<TokenExchangeGrant>(options.grant) &&
      !answer.token_types.empty()) {
    answer.token_types.push_back("N_A");
  }
  return answer;
}

}  // namespace

// The source and all attempts in progress share a SourceCore.
class SourceCore : public std::enable_shared_from_this<SourceCore> {
 public:
  explicit SourceCore(SourceOptions options)
      : tokens_(TokensOf(options.grant)),
        reader_(std::move(options.reader)),
        answer_options_(AnswerOptionsOf(options)),
        lender_(ConfigOf(options)) {}

  void Fetch(const FetchContext& context, SecretSource::Done done) {
    auto attempt = std::make_unique<Attempt>(context, std::move(done));
    if (tokens_ == nullptr) return Supply(std::move(attempt));
    const auto wanted = [core = shared_from_this(), context = attempt->context,
                         deadline = attempt->deadline] {
      return core->lender_.closed() ? Cancelled()
                                    : Wanted(context, Now(), deadline);
    };
    tokens_->Await(wanted,
                   [core = shared_from_this(), attempt = std::move(attempt)](
                       absl::StatusOr<RefreshTokens::Turn> turn) mutable {
                     if (!turn.ok()) return core->Fail(*attempt, turn.status());
                     attempt->turn.emplace(*std::move(turn));
                     core->Supply(std::move(attempt));
                   });
  }

  // Called when the source is destroyed. An attempt that waits for a turn fails
  // now. An attempt that waits for a supplier fails when the supplier has
  // answered.
  void Close() {
    lender_.Close();
    if (tokens_ != nullptr) tokens_->Sweep();
  }

 private:
  // The `done` of one request.
  class Reply {
   public:
    Reply(std::shared_ptr<SourceCore> core, std::unique_ptr<Attempt> attempt)
        : core_(std::move(core)), attempt_(std::move(attempt)) {}
    Reply(Reply&& other) noexcept = default;
    Reply& operator=(Reply&& other) = delete;
    ~Reply() {
      // If an exception destroys this object, the attempt's `done` is destroyed
      // uncalled. The FetchDone inside `done` then reports the exception.
      if (attempt_ == nullptr || std::uncaught_exceptions() > 0) return;
      core_->Answer(std::move(attempt_),
                    absl::InternalError(
                        "the transport dropped the request without an answer"));
    }

    void operator()(absl::StatusOr<HttpAnswer> answer) {
      if (attempt_ == nullptr) return;  // This is the second call.
      core_->Answer(std::move(attempt_), std::move(answer));
    }

   private:
    std::shared_ptr<SourceCore> core_;
    std::unique_ptr<Attempt> attempt_;
  };

  // Asks the next supplier or, if all have answered, sends the request.
  void Supply(std::unique_ptr<Attempt> attempt) {
    const Loan config(&lender_);
    if (!config) return Fail(*attempt, Cancelled());
    const size_t next = attempt->supplied.size();
    if (next == config->suppliers.size()) {
      return Send(*config.operator->(), std::move(attempt));
    }
    const FetchContext context = attempt->context;
    config->suppliers[next].Get(
        context, [core = shared_from_this(), attempt = std::move(attempt)](
                     absl::StatusOr<Secret> token) mutable {
          if (!token.ok()) return core->Fail(*attempt, token.status());
          attempt->supplied.push_back(*std::move(token));
          core->Supply(std::move(attempt));
        });
  }

  void Send(const Config& config, std::unique_ptr<Attempt> attempt) {
    const FetchContext context = attempt->context;
    // The clock is read only once, so `options.timeout` below is positive if
    // `Wanted` returns OK.
    const BootTime now = Now();
    absl::Status wanted = Wanted(context, now, attempt->deadline);
    if (!wanted.ok()) return Fail(*attempt, std::move(wanted));
    absl::StatusOr<TokenRequest> request = BuildRequest(config, *attempt);
    if (!request.ok()) return Fail(*attempt, request.status());
    SendOptions options;
    options.timeout = attempt->deadline - now;
    options.max_body_bytes = answer_options_.max_body_bytes;
    if (attempt->turn.has_value()) {
      options.timeout += tokens_->late_answer();
      attempt->turn->WillPresent();
    } else {
      options.cancelled = [context] { return context.cancelled(); };
    }
    config.transport->Send(*std::move(request), std::move(options),
                           Reply(shared_from_this(), std::move(attempt)));
  }

  void Answer(std::unique_ptr<Attempt> attempt,
              absl::StatusOr<HttpAnswer> answer) {
    if (!answer.ok()) {
      if (attempt->turn.has_value() && WasNotSent(answer.status())) {
        attempt->turn->EndNotSent();
      }
      return Fail(*attempt, answer.status());
    }
    absl::StatusOr<AnswerFields> fields = absl::DataLossError("not read");
    if (!answer->body_too_long &&
        answer->body.size() <= answer_options_.max_body_bytes) {
      fields = reader_(answer->body.reveal());
    }
    absl::StatusOr<TokenAnswer> result =
        InterpretAnswer(*answer, fields, answer_options_);
    if (attempt->turn.has_value()) {
      PresentedToken presented = InterpretPresentedToken(
          *answer, fields, answer_options_.max_body_bytes);
      if (presented.fate == Fate::kRefused) {
        result = LoginNeeded(result.status(), "the refresh token was refused");
      }
      // A new refresh token is stored here, before the access token is used.
      attempt->turn->End(std::move(presented));
    }
    if (!result.ok()) return Fail(*attempt, result.status());
    attempt->done(std::move(result->credential));
    AfterAnswer();
  }

  void Fail(Attempt& attempt, absl::Status status) {
    attempt.turn.reset();
    attempt.done(std::move(status));
    AfterAnswer();
  }

  void AfterAnswer() {
    if (tokens_ != nullptr) tokens_->ContinueAfterAnswer();
  }

  const std::shared_ptr<RefreshTokens> tokens_;
  const AnswerReader reader_;
  const AnswerOptions answer_options_;
  Lender lender_;
};

SecretSource::SecretSource(SourceOptions options)
    : core_(std::make_shared<SourceCore>(std::move(options))) {}

SecretSource::~SecretSource() { core_->Close(); }

void SecretSource::Fetch(const FetchContext& context, Done done) {
  core_->Fetch(context, std::move(done));
}

}  // namespace internal

TokenSupplier TokenSupplier::Function(
    std::function<absl::StatusOr<Secret>(const FetchContext&)> function) {
  TokenSupplier supplier;
  if (function != nullptr) {
    supplier.get_ = [function = std::move(function)](
                        const FetchContext& context, Done done) {
      done(function(context));
    };
  }
  return supplier;
}

absl::Status ValidateSourceOptions(const SourceOptions& options) {
  const auto invalid = [](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("OAuth 2.0: ", what));
  };
  if (absl::Status status = ValidateEndpoint(options.endpoint); !status.ok()) {
    return status;
  }
  using Method = ClientAuthentication::Method;
  ClientAuthentication client = options.client;
  if (!options.client_assertion.is_null()) {
    if (client.method != Method::kAssertion) {
      return invalid(
          "client_assertion is set, but client is no "
          "AssertionAuthentication");
    }
    client.secret = Secret("signed later");
  }
  if (absl::Status status = ValidateClient(client); !status.ok()) return status;
  const Grant& grant = options.grant;
  if (std::holds_alternative<ClientCredentialsGrant>(grant)) {
    const auto request = ClientCredentialsRequest(options.endpoint, client);
    if (!request.ok()) return request.status();
  } else if (const auto* refresh = std::get_if<RefreshTokenGrant>(&grant)) {
    if (refresh->tokens == nullptr) {
      return invalid("RefreshTokenGrant::tokens is null");
    }
  } else if (const auto* jwt = std::get_if<JwtBearerGrant>(&grant)) {
    if (jwt->assertion.is_null()) {
      return invalid("JwtBearerGrant::assertion is null");
    }
  } else if (const auto* exchange = std::get_if<TokenExchangeGrant>(&grant)) {
    if (exchange->subject_token.is_null()) {
      return invalid("TokenExchangeGrant::subject_token is null");
    }
    if (exchange->subject_token_type.empty() ||
        (!exchange->actor_token.is_null() &&
         exchange->actor_token_type.empty())) {
      return invalid("the type of a TokenExchangeGrant's token is empty");
    }
  }
  if (options.transport == nullptr) return invalid("transport is null");
  if (options.reader == nullptr) return invalid("reader is null");
  if (options.answer.max_body_bytes == 0) {
    return invalid("answer.max_body_bytes is 0");
  }
  if (options.answer.default_lifetime.value_or(absl::Seconds(1)) <=
      absl::ZeroDuration()) {
    return invalid(absl::StrCat(
        "answer.default_lifetime is not positive (",
        absl::FormatDuration(*options.answer.default_lifetime), ")"));
  }
  return absl::OkStatus();
}

}  // namespace oauth2
}  // namespace refreshable
