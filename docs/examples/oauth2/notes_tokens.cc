// SPDX-License-Identifier: Apache-2.0

#include "notes_tokens.h"

#include <utility>

#include "refreshable/integrations/oauth2_json/read_json.h"
#include "refreshable/oauth2/source.h"

// [twenty]
using refreshable::Refreshable;
using refreshable::Secret;
namespace oauth2 = refreshable::oauth2;

absl::StatusOr<std::unique_ptr<Refreshable<Secret>>> NotesTokens(
    std::string url, std::string id, Secret secret,
    refreshable::Executor& executor, oauth2::CurlTransportOptions curl) {
  auto transport = oauth2::CreateCurlTransport(std::move(curl));
  if (!transport.ok()) return transport.status();
  oauth2::SourceOptions options;
  options.endpoint.url = std::move(url);
  options.client = oauth2::BasicAuthentication(id, std::move(secret));
  options.transport = *std::move(transport);
  options.reader = oauth2::ReadJson;
  auto source = oauth2::CreateSource<Secret>(std::move(options));
  if (!source.ok()) return source.status();
  return Refreshable<Secret>::Create(*std::move(source), {&executor});
}
// [/twenty]
