// SPDX-License-Identifier: Apache-2.0
//
// NotesTokens: the code that an SDK needs to get tokens from an OAuth 2.0
// server.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OAUTH2_NOTES_TOKENS_H_
#define REFRESHABLE_DOCS_EXAMPLES_OAUTH2_NOTES_TOKENS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "refreshable/executors/executor.h"
#include "refreshable/integrations/curl/curl_transport.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"

// Returns the tokens of the client `id`, which come from the token endpoint at
// `url` (client credentials over TLS). If an argument is not valid, returns an
// error that does not contain `secret`. Sends nothing; the first read of the
// result fetches a token. The executor must outlive the result.
absl::StatusOr<std::unique_ptr<refreshable::Refreshable<refreshable::Secret>>>
NotesTokens(std::string url, std::string id, refreshable::Secret secret,
            refreshable::Executor& executor,
            refreshable::oauth2::CurlTransportOptions curl = {});

#endif  // REFRESHABLE_DOCS_EXAMPLES_OAUTH2_NOTES_TOKENS_H_
