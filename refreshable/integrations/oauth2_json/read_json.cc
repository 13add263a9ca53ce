// SPDX-License-Identifier: Apache-2.0

#include "refreshable/integrations/oauth2_json/read_json.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {
namespace {

// With `double` instead of `long double`, the parser would refuse a body that
// contains 1e400.
using Json = nlohmann::basic_json<std::map, std::vector, std::string, bool,
                                  int64_t, uint64_t, long double>;

constexpr int kMaxDepth = 64;

// The parser calls a method of this object for each element that it reads, and
// stops if the method returns false.
class Handler final : public nlohmann::json_sax<Json> {
 public:
  AnswerFields& fields() { return fields_; }

  bool null() override { return Value(AnswerField::Null()); }
  bool boolean(bool) override { return Value(AnswerField::Other()); }
  bool number_integer(int64_t value) override {
    return Value(AnswerField::Number(absl::StrCat(value)));
  }
  bool number_unsigned(uint64_t value) override {
    return Value(AnswerField::Number(absl::StrCat(value)));
  }
  bool number_float(long double, const std::string& text) override {
    return Value(AnswerField::Number(internal::JsonNumber(text)));
  }
  bool string(std::string& text) override {
    AnswerField field = AnswerField::String(text);
    WipeMemory(&text[0], text.size());
    return Value(std::move(field));
  }
  bool binary(Json::binary_t&) override { return false; }
  bool key(std::string& name) override {
    if (depth_ == 1) name_ = name;
    return true;
  }
  bool start_object(size_t) override {
    return (depth_ == 0 || Value(AnswerField::Other())) && Enter();
  }
  bool start_array(size_t) override {
    return Value(AnswerField::Other()) && Enter();
  }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool parse_error(size_t, const std::string&,
                   const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  // Keeps a member of the outermost object, and drops what is nested deeper.
  // Returns false for a value outside the outermost object.
  bool Value(AnswerField field) {
    if (depth_ == 1) fields_.Set(name_, std::move(field));
    return depth_ > 0;
  }
  bool Enter() { return ++depth_ <= kMaxDepth; }
  bool Leave() {
    --depth_;
    return true;
  }

  AnswerFields fields_;
  // The name that was read last in the outermost object.
  std::string name_;
  int depth_ = 0;
};

}  // namespace

std::string internal::JsonNumber(std::string text) {
  const size_t point = text.find_first_not_of("0123456789+-eE");
  if (point != std::string::npos) text[point] = '.';
  return text;
}

absl::StatusOr<AnswerFields> ReadJson(absl::string_view body) {
  Handler handler;
  // The parser takes a zero byte for the end of its input.
  if (absl::StrContains(body, '\0') ||
      !Json::sax_parse(body.begin(), body.end(), &handler)) {
    return absl::InvalidArgumentError("the body is not a JSON object");
  }
  return std::move(handler.fields());
}

}  // namespace oauth2
}  // namespace refreshable
