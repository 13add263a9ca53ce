// SPDX-License-Identifier: Apache-2.0
//
// The error of a source that threw.

#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <typeinfo>

#if __has_include(<cxxabi.h>)
#include <cxxabi.h>
#define REFRESHABLE_HAVE_CXXABI 1
#endif

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "refreshable/shell/shell.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace internal {
namespace {

#ifdef ABSL_HAVE_EXCEPTIONS
// Returns the type name of the exception that is being handled; empty if it is
// not known.
std::string TypeOfThrown() {
#if defined(__cpp_rtti) && defined(REFRESHABLE_HAVE_CXXABI)
  const std::type_info* const type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : type->name();
#elif defined(__cpp_rtti)
  try {
    throw;
  } catch (const std::exception& exception) {
    return typeid(exception).name();
  } catch (...) {
    return "";
  }
#else
  return "";
#endif
}
#endif

}  // namespace

absl::Status Shell::DescribeThrown() const {
  std::string what(SourceThrew().message());
#ifdef ABSL_HAVE_EXCEPTIONS
  const std::string type = TypeOfThrown();
  if (!type.empty()) absl::StrAppend(&what, " ", type);
  const auto hooks = this->hooks();
  if (hooks != nullptr && hooks->show_exception_text) {
    try {
      throw;
    } catch (const std::exception& exception) {
      absl::StrAppend(&what, ": ", exception.what());
    } catch (...) {  // NOLINT(bugprone-empty-catch): has no text.
    }
  }
#endif
  return absl::UnknownError(what);
}

}  // namespace internal
}  // namespace refreshable
