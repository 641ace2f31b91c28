// viem against a devnet: send, wait, read, watch, over HTTP and WebSocket.
//
//   node viem.mjs NPM_FOLDER HTTP_URL WS_URL PRIVATE_KEY

import { createRequire } from "node:module";
import { join } from "node:path";
import assert from "node:assert/strict";

const [npm, http_url, ws_url, key] = process.argv.slice(2);
const require = createRequire(join(npm, "package.json"));
const viem = require("viem");
const { privateKeyToAccount } = require("viem/accounts");

const account = privateKeyToAccount(key);
const http = viem.createPublicClient({ transport: viem.http(http_url), pollingInterval: 100 });
const ws = viem.createPublicClient({ transport: viem.webSocket(ws_url) });
const chain = viem.defineChain({
  id: await http.getChainId(),
  name: "devnet",
  nativeCurrency: { name: "ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [http_url] } },
});
const wallet = viem.createWalletClient({ account, chain, transport: viem.http(http_url) });

const step = async (name, run) => {
  const result = await run();
  console.log(`ok    ${name}`);
  return result;
};
const within = (what, promise) =>
  Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error(`no ${what} in 30 s`)), 30_000).unref())]);

// Two heads over WebSocket, and the log below, are told while the rest runs.
const heads = within("two blocks by subscription", new Promise((done, failed) => {
  const seen = [];
  const stop = ws.watchBlocks({
    onBlock: (block) => {
      seen.push(block);
      if (seen.length === 2) { stop(); done(seen); }
    },
    onError: failed,
  });
}));

// LOG1 with topic 0x42 in the constructor's runtime: the call below makes one log.
const deployed = await step("a contract is deployed and its receipt waited for", async () => {
  const hash = await wallet.deployContract({ abi: [], bytecode: "0x600880600b6000396000f3604260006000a100" });
  return http.waitForTransactionReceipt({ hash, timeout: 30_000 });
});
assert.equal(deployed.status, "success");
const code = await http.getCode({ address: deployed.contractAddress });
assert.equal(code, "0x604260006000a100");

const told = within("a log by subscription", new Promise((done, failed) => {
  const stop = ws.watchEvent({ address: deployed.contractAddress, onLogs: (logs) => { stop(); done(logs); }, onError: failed });
}));
// The subscription has to be there before the transaction.
await ws.getBlockNumber();

const to = "0x00000000000000000000000000000000000000aa";
const before = await http.getBalance({ address: to });
const sent = await step("ether is sent and found again", async () => {
  const hash = await wallet.sendTransaction({ to, value: viem.parseEther("1") });
  return http.waitForTransactionReceipt({ hash, timeout: 30_000 });
});
assert.equal(sent.type, "eip1559");
assert.equal(await http.getBalance({ address: to }) - before, viem.parseEther("1"));
const shown = await http.getTransaction({ hash: sent.transactionHash });
assert.equal(shown.blockHash, sent.blockHash);

const called = await step("a call makes a log", async () => {
  const hash = await wallet.sendTransaction({ to: deployed.contractAddress });
  return http.waitForTransactionReceipt({ hash, timeout: 30_000 });
});
const logs = await http.getLogs({ address: deployed.contractAddress, fromBlock: deployed.blockNumber });
assert.equal(logs.length, 1);
assert.equal(logs[0].transactionHash, called.transactionHash);
await step("the log is told over WebSocket", async () => {
  const [log] = await told;
  assert.equal(log.transactionHash, called.transactionHash);
  assert.equal(log.removed, false);
});

await step("an account delegates by a type 4 transaction", async () => {
  const authorization = await wallet.signAuthorization({ contractAddress: deployed.contractAddress, executor: "self" });
  const hash = await wallet.sendTransaction({ authorizationList: [authorization], to: account.address });
  const receipt = await http.waitForTransactionReceipt({ hash, timeout: 30_000 });
  assert.equal(receipt.type, "eip7702");
  const delegated = await http.getCode({ address: account.address });
  assert.equal(delegated, `0xef0100${deployed.contractAddress.slice(2)}`.toLowerCase());
});

await step("fees, proofs, simulation and errors", async () => {
  const history = await http.getFeeHistory({ blockCount: 4, rewardPercentiles: [25, 75] });
  assert.equal(history.baseFeePerGas.length, history.gasUsedRatio.length + 1);
  const proof = await http.getProof({ address: to, storageKeys: [] });
  assert.equal(proof.balance, await http.getBalance({ address: to }));
  const [block] = await http.simulateBlocks({
    blocks: [{ calls: [{ account: account.address, to, value: 1n }], stateOverrides: [] }],
  });
  assert.equal(block.calls[0].status, "success");
  await assert.rejects(
    wallet.sendTransaction({ to, value: viem.parseEther("1"), nonce: 0, gas: 21_000n }),
    (error) => error.walk((e) => e instanceof viem.NonceTooLowError) !== null,
  );
});

await step("blocks are told over WebSocket, one after the other", async () => {
  const [first, second] = await heads;
  assert.equal(second.number, first.number + 1n);
  assert.equal(second.parentHash, first.hash);
});
console.log("viem: done");
process.exit(0);
