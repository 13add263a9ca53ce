// SPDX-License-Identifier: Apache-2.0

#include "refreshable/secret.h"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "refreshable/format.h"

namespace {

constexpr absl::string_view kMark = "tok-7f3a9";

// `operator delete` below counts the blocks of memory that it frees.
thread_local int blocks_freed = 0;
// The number of freed blocks that contained `kMark.substr(2)`.
thread_local int marks_freed = 0;

// `operator new` stores a block's size in this many bytes in front of it.
constexpr size_t kHeader = alignof(std::max_align_t);

}  // namespace

void* operator new(size_t size) {
  auto* const block = static_cast<char*>(std::malloc(kHeader + size));
  if (block == nullptr) std::abort();
  std::memcpy(block, &size, sizeof(size));
  return block + kHeader;
}

void operator delete(void* data) noexcept {
  if (data == nullptr) return;
  char* const block = static_cast<char*>(data) - kHeader;
  size_t size = 0;
  std::memcpy(&size, block, sizeof(size));
  ++blocks_freed;
  const absl::string_view bytes(static_cast<char*>(data), size);
  // In a string that was shortened to one character, a zero has replaced the
  // mark's second character.
  if (bytes.find(kMark.substr(2)) != absl::string_view::npos) ++marks_freed;
  std::free(block);
}

void operator delete(void* data, size_t) noexcept { operator delete(data); }
void* operator new[](size_t size) { return operator new(size); }
void operator delete[](void* data) noexcept { operator delete(data); }
void operator delete[](void* data, size_t) noexcept { operator delete(data); }

namespace refreshable {
namespace {

// Counts the blocks with the mark that are freed while this object exists.
class FreedMarks {
 public:
  FreedMarks() : before_(marks_freed) {}
  int count() const { return marks_freed - before_; }

 private:
  const int before_;
};

static_assert(std::is_nothrow_move_constructible_v<Secret>);
static_assert(std::is_nothrow_move_assignable_v<Secret>);
static_assert(!std::is_convertible_v<std::string, Secret>,
              "no secret comes about unasked");
static_assert(!std::is_convertible_v<Secret, absl::string_view>,
              "and none is shown unasked");

TEST(SecretTest, HoldsTheBytes) {
  const Secret secret(kMark);
  EXPECT_TRUE(secret.reveal() == kMark);
  EXPECT_EQ(secret.size(), kMark.size());
  EXPECT_FALSE(secret.empty());
  const std::string binary("a\0b", 3);
  EXPECT_TRUE(Secret(binary).reveal() == binary);
}

TEST(SecretTest, EmptyOnes) {
  const Secret none;
  const Secret no_bytes{absl::string_view()};
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(none.reveal().empty());
  EXPECT_TRUE(none == no_bytes);
  EXPECT_TRUE(Secret(none) == none);
  EXPECT_TRUE(none != Secret("x"));
  std::string empty;
  EXPECT_TRUE(Secret::TakeFrom(empty).empty());
}

TEST(SecretTest, CopiesAreSeparate) {
  Secret first(kMark);
  const Secret second(first);
  EXPECT_TRUE(first == second);
  EXPECT_NE(first.reveal().data(), second.reveal().data());
  first = Secret("other");
  EXPECT_TRUE(second.reveal() == kMark);
  first = second;
  EXPECT_TRUE(first == second);
  EXPECT_NE(first.reveal().data(), second.reveal().data());
}

TEST(SecretTest, MovedFromIsEmpty) {
  Secret source(kMark);
  const char* const bytes = source.reveal().data();
  Secret target(std::move(source));
  EXPECT_EQ(target.reveal().data(), bytes) << "a move makes no copy";
  EXPECT_TRUE(source.empty());  // NOLINT(bugprone-use-after-move)
  source = std::move(target);
  EXPECT_EQ(source.reveal().data(), bytes);
  EXPECT_TRUE(target.empty());  // NOLINT(bugprone-use-after-move)
}

// The replaced bytes must be freed at once.
TEST(SecretTest, MoveAssignmentKeepsNothingOfWhatItReplaces) {
  Secret target(kMark);
  Secret source("new");
  const int freed = blocks_freed;
  target = std::move(source);
  EXPECT_EQ(blocks_freed, freed + 1);
  EXPECT_TRUE(target.reveal() == "new");
  EXPECT_TRUE(source.empty());  // NOLINT(bugprone-use-after-move)
}

TEST(SecretTest, SelfAssignment) {
  Secret secret(kMark);
  Secret& same = secret;
  secret = same;
  EXPECT_TRUE(secret.reveal() == kMark);
  secret = std::move(same);
  EXPECT_TRUE(secret.reveal() == kMark);
}

TEST(SecretTest, EqualityLooksAtEveryByte) {
  const std::string text(67, 'x');
  for (size_t i = 0; i < text.size(); ++i) {
    for (const char bit : {'\x01', '\x40'}) {
      std::string other = text;
      other[i] = static_cast<char>(other[i] ^ bit);
      EXPECT_FALSE(Secret(text) == Secret(other)) << "byte " << i;
      EXPECT_TRUE(Secret(text) != Secret(other)) << "byte " << i;
    }
  }
  // The differences of the bytes must not cancel out.
  EXPECT_FALSE(Secret("ab") == Secret("ba"));
  EXPECT_FALSE(Secret("x") == Secret("xx"));
  EXPECT_TRUE(Secret(text) == Secret(text));
}

TEST(SecretTest, S3WipeMemoryOverwritesExactlyTheRange) {
  std::string bytes(kMark);
  WipeMemory(&bytes[1], bytes.size() - 2);
  EXPECT_EQ(bytes, std::string("t\0\0\0\0\0\0\0", 8) + "9");
  WipeMemory(&bytes[0], 0);
  WipeMemory(nullptr, 0);
  EXPECT_EQ(bytes[0], 't');
}

// The string begins with the mark and has at least `spare` bytes of unused
// capacity. The string object is on the heap, so that `operator delete` also
// sees bytes stored inline.
std::unique_ptr<std::string> MarkedString(size_t size, size_t spare) {
  auto text = std::make_unique<std::string>(kMark);
  text->resize(size, '.');
  text->reserve(size + spare);
  return text;
}

TEST(SecretTest, S3TheDetectorSeesWhatIsFreedUnwiped) {
  for (const size_t size : {kMark.size(), size_t{300}}) {
    FreedMarks marks;
    MarkedString(size, 0);
    EXPECT_GT(marks.count(), 0) << size;
  }
}

TEST(SecretTest, S3BytesAreWipedBeforeTheyAreFreed) {
  FreedMarks marks;
  {
    Secret secret(kMark);
    Secret copy(secret);
    Secret moved(std::move(copy));
    moved = secret;
    secret = Secret("x");
    secret = std::move(moved);
    copy = secret;
    copy = Secret();
  }
  EXPECT_EQ(marks.count(), 0);
}

TEST(SecretTest, S3TakeFromWipesTheOriginal) {
  for (const size_t size :
       {kMark.size(), size_t{15}, size_t{16}, size_t{300}}) {
    for (const size_t spare : {0, 40}) {
      auto original = MarkedString(size, spare);
      const std::string expected = *original;
      FreedMarks marks;
      {
        const Secret secret = Secret::TakeFrom(*original);
        EXPECT_TRUE(secret.reveal() == expected);
        EXPECT_TRUE(original->empty());
        original = nullptr;
      }
      EXPECT_EQ(marks.count(), 0) << size << '+' << spare;
    }
  }
}

// A shortened string still contains its old bytes in its spare capacity.
TEST(SecretTest, S3TakeFromWipesTheSpareCapacity) {
  for (const size_t size : {kMark.size(), size_t{300}}) {
    auto original = MarkedString(size, 0);
    original->resize(1);
    FreedMarks marks;
    Secret::TakeFrom(*original);
    original = nullptr;
    EXPECT_EQ(marks.count(), 0) << size;
  }
}

TEST(SecretTest, S3NoPrinterShowsIt) {
  const Secret secret(kMark);
  std::ostringstream os;
  os << secret;
  EXPECT_EQ(os.str(), "[secret]");
  EXPECT_EQ(fmt::format("{}", secret), "[secret]");
  EXPECT_EQ(fmt::format("{:>10}", secret), "  [secret]");
  EXPECT_EQ(testing::PrintToString(secret), "[secret]");
  EXPECT_EQ(testing::PrintToString(std::vector<Secret>{secret, secret}),
            "{ [secret], [secret] }");
  EXPECT_EQ(testing::PrintToString(std::make_optional(secret)), "([secret])");
  EXPECT_EQ(testing::PrintToString(std::make_pair(1, secret)), "(1, [secret])");
}

// Calls AbslStringify directly, because older versions of Abseil do not print
// with it.
TEST(SecretTest, S3AbslStringifyDoesNotShowIt) {
  struct Sink {
    void Append(absl::string_view text) {
      written.append(text.data(), text.size());
    }
    std::string written;
  } sink;
  AbslStringify(sink, Secret(kMark));
  EXPECT_EQ(sink.written, "[secret]");
}

}  // namespace
}  // namespace refreshable
