//! alloy's provider against the devnet's JSON-RPC, over HTTP and WebSocket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_consensus::Transaction;
use alloy_network::{EthereumWallet, TransactionBuilder};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_provider::{Provider, ProviderBuilder, WsConnect};
use alloy_rpc_types_eth::{BlockId, Filter, TransactionRequest};
use el::{LOGGER, Net, address, deploy, signer};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};

/// Mines every so often until it is dropped.
struct Mining(tokio::task::JoinHandle<()>);

impl Drop for Mining {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn mine(net: &Arc<Net>) -> Mining {
    let net = net.clone();
    Mining(tokio::spawn(async move {
        loop {
            net.mine().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }))
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn alloys_provider_sends_waits_for_receipts_and_reads() {
    // For a client that could speak TLS; that another test was first is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let net = Arc::new(Net::start().await);
    let _mining = mine(&net);
    let url = net.server.http_url().parse().unwrap();
    let provider = ProviderBuilder::new().wallet(EthereumWallet::from(signer(0))).connect_http(url);
    let to = Address::repeat_byte(0xaa);
    // Nonce, chain id, gas and fees are what its fillers ask for.
    let tx = TransactionRequest::default().with_to(to).with_value(U256::from(5));
    let sent = provider.send_transaction(tx).await.unwrap().with_timeout(Some(PATIENCE));
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(provider.get_balance(to).await.unwrap(), U256::from(5));
    let block = provider.get_block(receipt.block_hash.unwrap().into()).full().await.unwrap().unwrap();
    assert_eq!(block.header.hash_slow(), receipt.block_hash.unwrap(), "the header as it was read has the block's hash");
    let shown = block.transactions.as_transactions().unwrap();
    assert!(shown.iter().any(|tx| tx.value() == U256::from(5) && tx.inner.signer() == address(0)));
    assert_eq!(provider.get_transaction_count(address(0)).await.unwrap(), 1);
    let proof = provider.get_proof(to, vec![]).block_id(BlockId::hash(block.header.hash)).await.unwrap();
    let trie = alloy_trie::proof::verify_proof(
        block.header.state_root,
        alloy_trie::Nibbles::unpack(alloy_primitives::keccak256(to)),
        Some(alloy_rlp::encode(alloy_trie::TrieAccount { balance: U256::from(5), ..Default::default() })),
        &proof.account_proof,
    );
    trie.unwrap();
    let history = provider.get_fee_history(2, block.header.number.into(), &[50.0]).await.unwrap();
    assert_eq!(history.reward.unwrap().len(), 2);
    let refused = provider.send_raw_transaction(&Bytes::from_static(&[9])).await.unwrap_err();
    assert_eq!(refused.as_error_resp().unwrap().code, -32000);
}

#[tokio::test(flavor = "multi_thread")]
async fn alloys_provider_hears_blocks_logs_and_pending_transactions() {
    let net = Arc::new(Net::start().await);
    let provider = ProviderBuilder::new()
        .wallet(EthereumWallet::from(signer(0)))
        .connect_ws(WsConnect::new(net.server.ws_url()))
        .await
        .unwrap();
    let mut heads = provider.subscribe_blocks().await.unwrap().into_stream();
    let mut pending = provider.subscribe_pending_transactions().await.unwrap().into_stream();
    let logger = address(1).create(0);
    let mut logs = provider.subscribe_logs(&Filter::new().address(logger)).await.unwrap().into_stream();
    let _mining = mine(&net);
    let deployed = provider.send_raw_transaction(&deploy(1, 0, LOGGER)).await.unwrap().with_timeout(Some(PATIENCE));
    assert!(deployed.get_receipt().await.unwrap().status());
    let call = TransactionRequest::default().with_to(logger);
    let hash = *provider.send_transaction(call).await.unwrap().tx_hash();
    let wait = async {
        let heard: Vec<B256> = [pending.next().await.unwrap(), pending.next().await.unwrap()].into();
        assert_eq!(heard[1], hash);
        let log = logs.next().await.unwrap();
        assert_eq!((log.transaction_hash, log.removed), (Some(hash), false));
        let (one, two) = (heads.next().await.unwrap(), heads.next().await.unwrap());
        assert_eq!(two.parent_hash, one.hash);
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}
