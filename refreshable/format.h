// SPDX-License-Identifier: Apache-2.0
//
// Formatters for fmt: for the types below, fmt::format("{}", v) prints v as
// operator<< does. No formatter prints the bytes of a token or a Secret.

#ifndef REFRESHABLE_FORMAT_H_
#define REFRESHABLE_FORMAT_H_

#include "fmt/format.h"
#include "fmt/ostream.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/failure_class.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"
#include "refreshable/lease.h"
#include "refreshable/policy.h"
#include "refreshable/refresh_error.h"
#include "refreshable/secret.h"
#include "refreshable/token_source.h"

template <>
struct fmt::formatter<refreshable::Generation> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::Freshness> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::RefreshReason> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::EventKind> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::Event> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::Health> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::Stats> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::RefreshError> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::Expiry> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::Secret> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::FailureClass> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::OnExhausted> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::RetryPolicy> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::RefreshPolicy> : fmt::ostream_formatter {};
template <>
struct fmt::formatter<refreshable::FetchContext> : fmt::ostream_formatter {};
template <typename Token>
struct fmt::formatter<refreshable::Credential<Token>> : fmt::ostream_formatter {
};
template <typename Token>
struct fmt::formatter<refreshable::Lease<Token>> : fmt::ostream_formatter {};

#endif  // REFRESHABLE_FORMAT_H_
