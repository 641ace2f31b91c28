//! The JSON-RPC's connections: as many as are allowed, each within its times. One that became a WebSocket keeps
//! its place until it ends, and may be silent for as long as it likes.

use super::{RpcConfig, strict};
use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, HttpResponse, Methods, Server, ServerConfig, ServerHandle, http::response,
    middleware::rpc::RpcServiceBuilder, stop_channel,
};
use serde_json::json;
use std::{convert::Infallible, time::Duration};
use tandem_serve::{BodyFault, HEAD_BYTES, HEADERS, HeadFault};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a body may take: the largest is sent in well under a second.
const BODY_TIME: Duration = Duration::from_secs(5);

/// geth's code for what took too long, jsonrpsee's for what does not read, and the one for too much at once; and
/// the gateway's for a content type that is not JSON's.
const TIMED_OUT: i32 = -32002;
const PARSE: i32 = -32700;
const LIMIT: i32 = -32005;
const NOT_JSON: i32 = -32012;

/// What serves. It stops when this is dropped.
#[derive(Debug)]
pub(super) struct Serving {
    handle: ServerHandle,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Serving {
    pub(super) async fn stop(self) {
        // Who speaks over a WebSocket is told by jsonrpsee, the others by us.
        let _ = self.handle.stop();
        drop(self.stop);
        let _ = self.task.await;
    }
}

/// Serves these methods.
pub(super) fn start(listener: TcpListener, config: &RpcConfig, methods: impl Into<Methods>) -> Serving {
    let (most, largest) = (config.max_connections as usize, config.max_request);
    let max_answer = config.max_response as usize;
    let server = ServerConfig::builder()
        .max_request_body_size(largest)
        .max_response_body_size(config.max_response)
        .max_connections(config.max_connections)
        .max_subscriptions_per_connection(config.max_subscriptions)
        .set_batch_request_config(BatchRequestConfig::Limit(config.max_batch))
        .set_id_provider(super::HexIds::default())
        .build();
    let cors = tower_http::cors::CorsLayer::permissive();
    let services = Server::builder()
        .set_config(server)
        .set_http_middleware(tower::ServiceBuilder::new().layer(cors))
        .set_rpc_middleware(
            RpcServiceBuilder::new().layer_fn(move |inner| strict::Strict { inner, largest: max_answer }),
        )
        .to_service_builder();
    let (methods, (stopped, handle)) = (methods.into(), stop_channel());
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let task = tokio::spawn(async move {
        let serving = |stream, peer, stop: CancellationToken| {
            let mut rpc = services.clone().build(methods.clone(), stopped.clone());
            // Where it becomes a WebSocket that is when it ends; else it is over once nobody has the service.
            let closed = rpc.on_session_closed();
            let service = service_fn(move |request: Request<Incoming>| {
                let mut rpc = rpc.clone();
                async move {
                    Ok::<_, Infallible>(match whole(request, largest).await {
                        Ok(request) => {
                            let answer = tower::Service::call(&mut rpc, request).await;
                            as_json(answer.unwrap_or_else(|_| response::internal_error()))
                        }
                        Err(refused) => refused,
                    })
                }
            });
            async move {
                if let Some(ended) = tandem_serve::connection(stream, peer, crate::TIMES, service, &stop).await {
                    let last = ended.head_fault().map(of_head);
                    ended.part(last).await;
                }
                closed.await;
            }
        };
        let busy = said(LIMIT, "busy", &format!("{most} connections are open: close some"));
        let busy = tandem_serve::answer(StatusCode::SERVICE_UNAVAILABLE, &[], &busy);
        tandem_serve::serve(listener, "JSON-RPC", (most, &busy), &stopping, serving).await;
    });
    Serving { handle, stop: stop.drop_guard(), task }
}

/// The request with its whole body; or what its caller is told.
async fn whole(request: Request<Incoming>, largest: u32) -> Result<Request<Full<Bytes>>, HttpResponse> {
    let (mut parts, body) = request.into_parts();
    if !parts.headers.contains_key("upgrade") {
        parts.extensions.insert(strict::NoNotifications);
    }
    if body.is_end_stream() {
        return Ok(Request::from_parts(parts, Full::default()));
    }
    // Every call has a body: places for them would be held by halves, and a connection is one already.
    let read = tandem_serve::whole(body, largest as usize, BODY_TIME, std::future::ready(())).await;
    match read {
        Ok((bytes, ())) => Ok(Request::from_parts(parts, Full::new(bytes))),
        Err(BodyFault::Large) => Err(response::too_large(largest)),
        Err(BodyFault::Broken(why)) => {
            let text = format!("the body could not be read: {why}");
            Err(refused(StatusCode::BAD_REQUEST, &said(PARSE, "body-broken", &text)))
        }
        Err(BodyFault::Slow) => {
            let text = format!("the body did not come within {BODY_TIME:?}: send it in one go");
            Err(refused(StatusCode::REQUEST_TIMEOUT, &said(TIMED_OUT, "slow-body", &text)))
        }
    }
}

fn refused(status: StatusCode, said: &str) -> HttpResponse {
    let mut response = response::ok_response(HttpBody::from(said.to_owned()));
    *response.status_mut() = status;
    response
}

/// jsonrpsee refuses a content type in plain text: here it is said in the shape of the other refusals. Its headers
/// stay, CORS' among them, without which a page could not read it.
fn as_json(mut answer: HttpResponse) -> HttpResponse {
    if answer.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        *answer.body_mut() = HttpBody::from(said(NOT_JSON, "content-type", "send content-type: application/json"));
        let headers = answer.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    }
    answer
}

/// What is said to a caller whose head could not be read.
fn of_head(fault: HeadFault) -> Vec<u8> {
    let (status, code, reason, text) = match fault {
        HeadFault::Slow => {
            (StatusCode::REQUEST_TIMEOUT, TIMED_OUT, "slow-head", "the request's head did not come in time".to_owned())
        }
        HeadFault::Large => {
            let text = format!("the request's head has more than {HEAD_BYTES} bytes or {HEADERS} headers: send fewer");
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, PARSE, "head-too-large", text)
        }
        HeadFault::Bad => {
            (StatusCode::BAD_REQUEST, PARSE, "bad-head", "the request's head is not HTTP/1.1 as RFC 9112 has it".into())
        }
    };
    tandem_serve::answer(status, &[], &said(code, reason, &text))
}

/// A refusal of a call that nobody has read, in the shape of one that was.
fn said(code: i32, reason: &str, message: &str) -> String {
    let error = json!({ "code": code, "message": message, "data": { "reason": reason } });
    json!({ "jsonrpc": "2.0", "id": null, "error": error }).to_string()
}
