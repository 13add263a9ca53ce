// SPDX-License-Identifier: Apache-2.0
//
// `replay [--random=N] FILE...` runs a fuzz target without libFuzzer, on each
// file and on N random inputs. The random inputs are the same in each run.
// Fails if no file is given: a test whose corpus was not found must not pass.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void RunOn(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()),
                         bytes.size());
}

void RunOnRandomInputs(int64_t number) {
  std::mt19937_64 random(1);
  for (int64_t i = 0; i < number; ++i) {
    std::string bytes(random() % 1025, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    RunOn(bytes);
  }
  std::cout << number << " random inputs\n";
}

}  // namespace

int main(int argc, char** argv) {
  constexpr char kRandom[] = "--random=";
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], kRandom, std::strlen(kRandom)) == 0) {
      RunOnRandomInputs(std::atoll(argv[i] + std::strlen(kRandom)));
      continue;
    }
    std::ifstream file(argv[i], std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    if (!file) {
      std::cerr << argv[i] << ": cannot be read\n";
      return 1;
    }
    std::cout << argv[i] << ": " << bytes.size() << " bytes" << std::endl;
    RunOn(bytes);
    ++files;
  }
  std::cout << files << " files\n";
  return files > 0 ? 0 : 1;
}
