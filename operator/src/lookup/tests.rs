use landbridge_destination::Binding;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const FOUND: &str = r#"{"owner":{"SubaccountId":"s","InstanceId":null},"destinationConfiguration":
    {"Name":"erp","Type":"HTTP","URL":"https://api.example.com","Password":"hush"}}"#;

/// A store and its authorization server: every request gets what `answer` says for its head.
async fn store() -> StoreLookups {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let key = serde_json::json!({"clientid": "id", "clientsecret": "secret", "url": base, "uri": base});
    let binding = Binding::from_json(&key.to_string()).unwrap();
    let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
    StoreLookups::new(StoreClient::new(binding, http), HashMap::new())
}

async fn serve(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
        head += &lower;
    }
    let mut body = vec![0; length];
    let _ = stream.read_exact(&mut body).await;
    let (status, header, body) = answer(&head);
    let text = format!(
        "HTTP/1.1 {status} X\r\n{header}content-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn answer(head: &str) -> (u16, &'static str, &'static str) {
    let path = head.lines().next().unwrap_or_default();
    if path.contains("/oauth/token") {
        (
            200,
            "",
            r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#,
        )
    } else if !head.contains("authorization: bearer t") || !path.contains("skiptokenretrieval=true") {
        (400, "", r#"{"ErrorMessage":"tokens were asked for"}"#)
    } else if head.contains("x-fragment-name: nofragment") {
        (404, "", r#"{"ErrorMessage":"not found"}"#)
    } else if path.contains("/destinations/erp") && head.contains("if-none-match: \"v1\"") {
        (304, "etag: \"v1\"\r\n", "")
    } else if path.contains("/destinations/erp") {
        (200, "etag: \"v1\"\r\n", FOUND)
    } else if path.contains("/destinations/forbidden") {
        (403, "", r#"{"ErrorMessage":"not yours"}"#)
    } else {
        (
            404,
            "",
            r#"{"ErrorMessage":"Configuration with the specified name was not found"}"#,
        )
    }
}

#[tokio::test]
async fn the_store_is_asked_without_tokens_and_only_for_what_changed() {
    let store = store().await;
    let erp = DestinationSelector::named("erp");
    let Ok(Answer::Found { config, etag }) = store.find(erp.clone(), None).await else {
        panic!("not found")
    };
    assert_eq!(config.get("URL"), Some("https://api.example.com"));
    assert!(
        !serde_json::to_string(&config).unwrap().contains("hush"),
        "credentials are not kept"
    );
    assert!(etag.is_some());
    assert_eq!(store.find(erp, etag).await, Ok(Answer::Unchanged));
}

#[tokio::test]
async fn missing_is_told_from_failing() {
    let store = store().await;
    let missing = store.find(DestinationSelector::named("nobody"), None).await;
    assert!(
        matches!(&missing, Ok(Answer::NotFound(why)) if why.contains("\"nobody\"")),
        "{missing:?}"
    );
    let failing = store.find(DestinationSelector::named("forbidden"), None).await;
    assert!(
        matches!(&failing, Err(Failure(why)) if why.contains("not yours")),
        "{failing:?}"
    );
}

#[tokio::test]
async fn an_instance_that_is_not_configured_is_named() {
    let mut store = store().await;
    let mut selector = DestinationSelector::named("erp");
    selector.instance = Some("second".into());
    let error = store.find(selector.clone(), None).await.unwrap_err().to_string();
    assert!(
        error.contains("\"second\"") && error.contains("there are none"),
        "{error}"
    );
    store.instances.insert("second".into(), store.default.clone());
    assert!(store.find(selector.clone(), None).await.is_ok());
    selector.instance = Some("third".into());
    let error = store.find(selector, None).await.unwrap_err().to_string();
    assert!(error.contains("known: second"), "{error}");
}

#[tokio::test]
async fn a_missing_fragment_is_told_from_a_missing_destination() {
    let store = store().await;
    let with_fragment = |name: &str| {
        let mut selector = DestinationSelector::named(name);
        selector.fragment = Some(landbridge_destination::selector::FragmentSelector {
            name: "nofragment".into(),
            level: None,
            optional: false,
        });
        selector
    };
    let missing = store.find(with_fragment("erp"), None).await;
    assert!(
        matches!(&missing, Ok(Answer::FragmentNotFound(why)) if why.contains("no fragment \"nofragment\"")),
        "{missing:?}"
    );
    let missing = store.find(with_fragment("nobody"), None).await;
    assert!(
        matches!(&missing, Ok(Answer::NotFound(why)) if why.contains("\"nobody\"")),
        "{missing:?}"
    );
}
