// A wallet by another hand: Alby's service for NIP-47. Arguments: relay, the wallet's secret key, the caller's key.
import { NWCWalletService, NWCWalletServiceKeyPair } from "@getalby/sdk";
import { WebSocket } from "ws";

globalThis.WebSocket ??= WebSocket;
const [relayUrl, walletSecret, callerKey] = process.argv.slice(2);
const methods = ["get_info", "get_balance", "pay_invoice", "make_invoice", "lookup_invoice"];
const service = new NWCWalletService({ relayUrl });
await service.publishWalletServiceInfoEvent(walletSecret, methods, []);
await service.subscribe(new NWCWalletServiceKeyPair(walletSecret, callerKey), {
  payInvoice: async ({ invoice }) =>
    invoice === "lnbcrt1dear"
      ? { result: undefined, error: { code: "QUOTA_EXCEEDED", message: "budget" } }
      : { result: { preimage: "ab".repeat(32), fees_paid: 7 }, error: undefined },
  getBalance: async () => ({ result: { balance: 42000 }, error: undefined }),
});
console.log("ready");
