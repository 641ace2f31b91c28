//! Commands that ask a running host.

use crate::cli::{Ledger, Remote};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use tandem_node::{Call, HttpClient, Limits};

/// A client of the host's gateway, with the admin token if there is a file with one.
struct Client {
    http: HttpClient,
    token: Option<zeroize::Zeroizing<String>>,
}

impl Client {
    fn new(args: &Remote) -> Result<Self> {
        let read = |p: &std::path::PathBuf| {
            std::fs::read_to_string(p).with_context(|| format!("the admin token in {}", p.display()))
        };
        let token = args.admin_token_file.as_ref().map(read).transpose()?;
        let token = token.map(|t| zeroize::Zeroizing::new(t.trim().to_owned()));
        Ok(Self { http: HttpClient::new(args.url.parse()?, Limits::default())?, token })
    }

    async fn send(&self, mut call: Call) -> Result<Value> {
        if let Some(t) = &self.token {
            call = call.header("authorization".parse()?, &format!("Bearer {}", t.as_str()));
        }
        let answer = self.http.send(call).await.context("is the host running? `tandem run` starts it")?;
        let body: Value = if answer.body.is_empty() { Value::Null } else { serde_json::from_slice(&answer.body)? };
        if !answer.status.is_success() {
            let message = body["message"].as_str().unwrap_or("no message");
            bail!("{}: {message}", answer.status);
        }
        Ok(body)
    }
}

/// `tandem status`.
pub async fn status(args: Remote) -> Result<()> {
    let client = Client::new(&args)?;
    let status = client.send(Call::get("/api/v1/status")).await?;
    let modules = client.send(Call::get("/api/v1/modules")).await?;
    if args.json {
        return show(&serde_json::to_string_pretty(&serde_json::json!({ "status": status, "modules": modules }))?);
    }
    let mut out = String::new();
    let simulated = if status["simulated"] == true { "  (simulated devnet)" } else { "" };
    writeln!(out, "chain {}{simulated}, version {}", status["chain_id"], text(&status["version"]))?;
    for what in ["health", "ready", "promising"] {
        let ok = status[what]["ok"] == true;
        writeln!(out, "{what:<10} {}", if ok { "yes" } else { "NO" })?;
        for r in status[what]["reasons"].as_array().into_iter().flatten() {
            writeln!(out, "           {}: {}", text(&r["code"]), text(&r["message"]))?;
        }
    }
    writeln!(out, "validators {}, journal records {}", status["validators"], status["journal_records"])?;
    for m in list(&modules) {
        writeln!(
            out,
            "module {:<16} {:<10} answered {} refused {} late {} panics {} hangs {} restarts {}",
            text(&m["id"]),
            text(&m["state"]),
            m["answered"],
            m["refused"],
            m["late"],
            m["panics"],
            m["hangs"],
            m["restarts"]
        )?;
    }
    show(&out)
}

/// `tandem ledger`.
pub async fn ledger(args: Ledger) -> Result<()> {
    let Ledger { remote, days } = args;
    let path = format!("/api/v1/ledger?days={days}");
    let report = Client::new(&remote)?.send(Call::get(&path)).await?;
    if remote.json {
        return show(&serde_json::to_string_pretty(&report)?);
    }
    let report: tandem_ledger::Report = serde_json::from_value(report)?;
    show(&report.to_string())
}

/// `tandem resume`.
pub async fn resume(args: Remote) -> Result<()> {
    let client = Client::new(&args)?;
    if client.token.is_none() {
        bail!(
            "resuming needs the admin token: name its file with --admin-token-file (`admin-token` beside tandem.toml)"
        );
    }
    let call = Call::post("/api/v1/promising/resume", "application/json", "{}");
    client.send(call).await?;
    println!("promising is allowed again");
    Ok(())
}

fn list(v: &Value) -> Vec<Value> {
    let inner = v.get("modules").unwrap_or(v);
    inner.as_array().cloned().unwrap_or_default()
}

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or("–")
}

/// Prints text at once. A reader that stops early (`| head`) is no fault.
fn show(text: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
