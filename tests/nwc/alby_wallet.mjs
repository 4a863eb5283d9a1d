// A wallet by another hand: Alby's service for NIP-47. Arguments: relay, the wallet's secret key, the caller's key,
// and where it truly pays an LNbits and the wallet's key there.
import { NWCWalletService, NWCWalletServiceKeyPair } from "@getalby/sdk";
import { WebSocket } from "ws";

globalThis.WebSocket ??= WebSocket;
const [relayUrl, walletSecret, callerKey, lnbits, key] = process.argv.slice(2);
const methods = ["get_info", "get_balance", "pay_invoice", "make_invoice", "lookup_invoice"];
const service = new NWCWalletService({ relayUrl });

async function paid(invoice) {
  const answer = await fetch(`${lnbits}/api/v1/payments`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": key },
    body: JSON.stringify({ out: true, bolt11: invoice }),
  });
  const said = await answer.json();
  return answer.ok
    ? { result: { preimage: said.preimage ?? "", fees_paid: 0 }, error: undefined }
    : { result: undefined, error: { code: "PAYMENT_FAILED", message: said.detail } };
}

await service.publishWalletServiceInfoEvent(walletSecret, methods, []);
await service.subscribe(new NWCWalletServiceKeyPair(walletSecret, callerKey), {
  payInvoice: async ({ invoice }) =>
    lnbits
      ? paid(invoice)
      : invoice === "lnbcrt1dear"
        ? { result: undefined, error: { code: "QUOTA_EXCEEDED", message: "budget" } }
        : { result: { preimage: "ab".repeat(32), fees_paid: 7 }, error: undefined },
  getBalance: async () => ({ result: { balance: 42000 }, error: undefined }),
});
console.log("ready");
