#include "sandbox/redirection.hpp"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

#include <array>
#include <cstddef>
#include <memory>

namespace agentvault::sandbox {
namespace {

constexpr const char* kTable = "agentvault";
constexpr const char* kChain = "out";
constexpr std::uint32_t kLoopbackMask = 0xff000000;
constexpr std::uint32_t kLoopbackNet = 0x7f000000;
constexpr std::uint16_t kNamesPort = 53;

template <class T, void (*Free)(const T*)>
struct Deleter {
  void operator()(T* object) const { Free(object); }
};
using Table = std::unique_ptr<nftnl_table, Deleter<nftnl_table, nftnl_table_free>>;
using Chain = std::unique_ptr<nftnl_chain, Deleter<nftnl_chain, nftnl_chain_free>>;
using Rule = std::unique_ptr<nftnl_rule, Deleter<nftnl_rule, nftnl_rule_free>>;

/// One rule, expression by expression; values go through register 1.
class RuleBuilder {
 public:
  RuleBuilder() : rule_(nftnl_rule_alloc()) {
    nftnl_rule_set_str(rule_.get(), NFTNL_RULE_TABLE, kTable);
    nftnl_rule_set_str(rule_.get(), NFTNL_RULE_CHAIN, kChain);
    nftnl_rule_set_u32(rule_.get(), NFTNL_RULE_FAMILY, NFPROTO_IPV4);
  }
  RuleBuilder& protocol(std::uint8_t number) {
    auto* load = add("meta");
    nftnl_expr_set_u32(load, NFTNL_EXPR_META_KEY, NFT_META_L4PROTO);
    nftnl_expr_set_u32(load, NFTNL_EXPR_META_DREG, NFT_REG_1);
    return compare(NFT_CMP_EQ, number);
  }
  RuleBuilder& destination_outside_loopback() {
    load(NFT_PAYLOAD_NETWORK_HEADER, offsetof(iphdr, daddr), sizeof(std::uint32_t));
    const std::uint32_t mask = htonl(kLoopbackMask), none = 0;
    auto* bits = add("bitwise");
    nftnl_expr_set_u32(bits, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    nftnl_expr_set_u32(bits, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    nftnl_expr_set_u32(bits, NFTNL_EXPR_BITWISE_LEN, sizeof mask);
    nftnl_expr_set(bits, NFTNL_EXPR_BITWISE_MASK, &mask, sizeof mask);
    nftnl_expr_set(bits, NFTNL_EXPR_BITWISE_XOR, &none, sizeof none);
    return compare(NFT_CMP_NEQ, htonl(kLoopbackNet));
  }
  RuleBuilder& destination_port(std::uint16_t port) {
    load(NFT_PAYLOAD_TRANSPORT_HEADER, offsetof(udphdr, dest), sizeof port);
    return compare(NFT_CMP_EQ, htons(port));
  }
  Rule redirected_to(std::uint16_t port) {
    const std::uint16_t value = htons(port);
    auto* immediate = add("immediate");
    nftnl_expr_set_u32(immediate, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
    nftnl_expr_set(immediate, NFTNL_EXPR_IMM_DATA, &value, sizeof value);
    auto* redirect = add("redir");
    nftnl_expr_set_u32(redirect, NFTNL_EXPR_REDIR_REG_PROTO_MIN, NFT_REG_1);
    return std::move(rule_);
  }

 private:
  nftnl_expr* add(const char* name) {
    auto* expression = nftnl_expr_alloc(name);
    nftnl_rule_add_expr(rule_.get(), expression);
    return expression;
  }
  void load(std::uint32_t base, std::size_t offset, std::size_t size) {
    auto* payload = add("payload");
    nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, base);
    nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, static_cast<std::uint32_t>(offset));
    nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, static_cast<std::uint32_t>(size));
  }
  template <class Value>
  RuleBuilder& compare(std::uint32_t how, Value value) {
    auto* comparison = add("cmp");
    nftnl_expr_set_u32(comparison, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(comparison, NFTNL_EXPR_CMP_OP, how);
    nftnl_expr_set(comparison, NFTNL_EXPR_CMP_DATA, &value, sizeof value);
    return *this;
  }

  Rule rule_;
};

Table make_table() {
  Table table(nftnl_table_alloc());
  nftnl_table_set_u32(table.get(), NFTNL_TABLE_FAMILY, NFPROTO_IPV4);
  nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, kTable);
  return table;
}

Chain make_chain() {
  Chain chain(nftnl_chain_alloc());
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, kTable);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, kChain);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TYPE, "nat");
  nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_HOOKNUM, NF_INET_LOCAL_OUT);
  nftnl_chain_set_s32(chain.get(), NFTNL_CHAIN_PRIO, NF_IP_PRI_NAT_DST);
  return chain;
}

/// All or nothing: one transaction. The kernel answers each message of it.
class Transaction {
 public:
  Transaction() : batch_(mnl_nlmsg_batch_start(buffer_.data(), buffer_.size() / 2)) {
    nftnl_batch_begin(here(), sequence_++);
    mnl_nlmsg_batch_next(batch_);
  }
  ~Transaction() { mnl_nlmsg_batch_stop(batch_); }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  template <class Object, class Write>
  void create(std::uint16_t type, const Object& object, Write write, std::uint16_t flags = 0) {
    auto* header = nftnl_nlmsg_build_hdr(here(), type, NFPROTO_IPV4,
                                         static_cast<std::uint16_t>(NLM_F_CREATE | NLM_F_ACK | flags), sequence_++);
    write(header, object.get());
    mnl_nlmsg_batch_next(batch_);
    ++expected_;
  }

  bool commit() {
    nftnl_batch_end(here(), sequence_++);
    mnl_nlmsg_batch_next(batch_);
    const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> kernel(mnl_socket_open(NETLINK_NETFILTER),
                                                                   mnl_socket_close);
    if (kernel == nullptr || mnl_socket_bind(kernel.get(), 0, MNL_SOCKET_AUTOPID) < 0) return false;
    if (mnl_socket_sendto(kernel.get(), mnl_nlmsg_batch_head(batch_), mnl_nlmsg_batch_size(batch_)) < 0) return false;
    for (int answers = 0; answers < expected_;) {
      const auto got = mnl_socket_recvfrom(kernel.get(), buffer_.data(), buffer_.size());
      if (got <= 0) return false;
      auto* header = reinterpret_cast<nlmsghdr*>(buffer_.data());
      for (int left = static_cast<int>(got); mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
        if (header->nlmsg_type != NLMSG_ERROR) continue;
        if (static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error != 0) return false;
        ++answers;
      }
    }
    return true;
  }

 private:
  char* here() { return static_cast<char*>(mnl_nlmsg_batch_current(batch_)); }

  alignas(nlmsghdr) std::array<char, 16384> buffer_{};
  std::uint32_t sequence_ = 1;
  int expected_ = 0;
  mnl_nlmsg_batch* batch_;
};

}  // namespace

bool redirect_connections(std::uint16_t tcp_port, std::uint16_t name_port) {
  Transaction transaction;
  transaction.create(NFT_MSG_NEWTABLE, make_table(), nftnl_table_nlmsg_build_payload);
  transaction.create(NFT_MSG_NEWCHAIN, make_chain(), nftnl_chain_nlmsg_build_payload);
  transaction.create(NFT_MSG_NEWRULE,
                     RuleBuilder().protocol(IPPROTO_TCP).destination_outside_loopback().redirected_to(tcp_port),
                     nftnl_rule_nlmsg_build_payload, NLM_F_APPEND);
  transaction.create(NFT_MSG_NEWRULE,
                     RuleBuilder().protocol(IPPROTO_UDP).destination_port(kNamesPort).redirected_to(name_port),
                     nftnl_rule_nlmsg_build_payload, NLM_F_APPEND);
  return transaction.commit();
}

}  // namespace agentvault::sandbox
