#include "tpm/pcr.hpp"

#include <tss2/tss2_mu.h>

#include "base/text.hpp"
#include "tpm/esys.hpp"

namespace agentvault::tpm {
namespace {

constexpr const char* kForm = "write it as sha256:7 or sha256:0,2,7 (registers 0 to 23)";
const std::string kBank = "sha256:";

TPML_PCR_SELECTION unmarshalled(const Bytes& bytes) {
  TPML_PCR_SELECTION out{};
  std::size_t used = 0;
  if (Tss2_MU_TPML_PCR_SELECTION_Unmarshal(bytes.data(), bytes.size(), &used, &out) != TSS2_RC_SUCCESS) {
    throw Error(ErrorKind::failed, "cannot lay out a PCR selection");
  }
  return out;
}

bool any(const TPML_PCR_SELECTION& selection) {
  const auto& bits = selection.pcrSelections[0].pcrSelect;
  return selection.count == 1 && (bits[0] | bits[1] | bits[2]) != 0;
}

}  // namespace

PcrSelection PcrSelection::parse(const std::string& text) {
  PcrSelection selection;
  if (text.empty()) return selection;
  const Error wrong(ErrorKind::usage, "not a PCR selection: \"" + printable(text) + "\"", kForm);
  if (!text.starts_with(kBank)) throw wrong;
  std::string number;
  for (const char c : text.substr(kBank.size()) + ",") {
    if (c != ',') {
      number += c;
      continue;
    }
    const auto value = parse_unsigned(number);
    if (!value || *value >= kRegisters || selection.registers_.test(*value)) throw wrong;
    selection.registers_.set(*value);
    number.clear();
  }
  return selection;
}

std::string PcrSelection::text() const {
  std::string out;
  for (std::size_t i = 0; i < kRegisters; ++i) {
    if (registers_.test(i)) out += (out.empty() ? kBank : ",") + std::to_string(i);
  }
  return out;
}

Bytes PcrSelection::marshalled() const {
  const auto bits = static_cast<std::uint32_t>(registers_.to_ulong());
  ByteWriter out;
  out.u32(1).u16(TPM2_ALG_SHA256).u8(3);
  for (int shift = 0; shift < 24; shift += 8) out.u8(static_cast<std::uint8_t>(bits >> shift));
  return out.bytes();
}

Digest read_pcrs(Tpm& tpm, const PcrSelection& selection) {
  TPML_PCR_SELECTION left = unmarshalled(selection.marshalled());
  ByteWriter values;
  // The TPM gives at most eight at once, and says which.
  while (any(left)) {
    TPML_PCR_SELECTION* given = nullptr;
    TPML_DIGEST* digests = nullptr;
    UINT32 updates = 0;
    tpm.inside().check(
        Esys_PCR_Read(tpm.inside().esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &left, &updates, &given, &digests),
        "PCR_Read");
    const EsysResult<TPML_PCR_SELECTION> owned_selection(given);
    const EsysResult<TPML_DIGEST> owned_digests(digests);
    if (digests->count == 0 || !any(*given)) {
      throw Error(ErrorKind::tpm, "the TPM does not hold these PCRs: " + selection.text(),
                  "\"tpm2_pcrread\" shows which banks it has");
    }
    for (std::size_t i = 0; i < digests->count; ++i) {
      values.raw({digests->digests[i].buffer, digests->digests[i].size});
    }
    for (std::size_t i = 0; i < 3; ++i) {
      auto& bits = left.pcrSelections[0].pcrSelect[i];
      bits = static_cast<BYTE>(bits & ~given->pcrSelections[0].pcrSelect[i]);
    }
  }
  return sha256(values.bytes());
}

}  // namespace agentvault::tpm
