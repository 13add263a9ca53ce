// SPDX-License-Identifier: Apache-2.0

#ifndef NOTES_SESSION_SOURCE_H_
#define NOTES_SESSION_SOURCE_H_

#include <memory>
#include <string>
#include <utility>

#include "notes/transport.h"
#include "refreshable/token_source.h"

namespace notes {

// [session]
// A token may be of any type. This token consists of a key and the shard for
// which the key is valid.
struct Session {
  std::string key;
  std::string shard;

  // Lets the library notice that the source returned a rejected session again.
  friend bool operator==(const Session& a, const Session& b) {
    return a.key == b.key && a.shard == b.shard;
  }
};
// [/session]

// [source]
// A source that logs in with an API key. The answer of POST /login is
// "KEY SHARD SECONDS".
class SessionSource : public refreshable::TokenSource<Session> {
 public:
  SessionSource(std::shared_ptr<Transport> transport, std::string api_key)
      : transport_(std::move(transport)), api_key_(std::move(api_key)) {}

  void Fetch(const refreshable::FetchContext& context,
             refreshable::FetchDone<Session> done) override;

 private:
  const std::shared_ptr<Transport> transport_;
  const std::string api_key_;
};
// [/source]

}  // namespace notes

#endif  // NOTES_SESSION_SOURCE_H_
