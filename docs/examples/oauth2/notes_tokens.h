// SPDX-License-Identifier: Apache-2.0
//
// NotesTokens: what an SDK has to write to get tokens from an OAuth 2.0 server.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OAUTH2_NOTES_TOKENS_H_
#define REFRESHABLE_DOCS_EXAMPLES_OAUTH2_NOTES_TOKENS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "refreshable/executors/executor.h"
#include "refreshable/integrations/curl/curl_transport.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"

// Returns the tokens of the client `id` (client credentials over TLS). Sends
// nothing; the first read fetches a token. The executor must outlive the
// result.
absl::StatusOr<std::unique_ptr<refreshable::Refreshable<refreshable::Secret>>>
NotesTokens(std::string url, std::string id, refreshable::Secret secret,
            refreshable::Executor& executor,
            refreshable::oauth2::CurlTransportOptions curl = {});

#endif  // REFRESHABLE_DOCS_EXAMPLES_OAUTH2_NOTES_TOKENS_H_
