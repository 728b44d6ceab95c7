use std::collections::BTreeSet;

use axum::body::Body;
use axum::routing::any;
use ferrite_pki::{Dates, Issuer, Leaf, Uses, certificates, make_root};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::*;
use crate::api::peer::{self, Terms};

const CLUSTER: &str = "abababababababababababababababab";

/// Every request that the API knows, from its own description: method and path.
fn described() -> Vec<(String, String)> {
    let document = serde_json::to_value(crate::api::description()).unwrap();
    let paths = document["paths"].as_object().unwrap().clone();
    let methods = ["get", "put", "post", "delete", "patch", "head", "options", "trace"];
    let of = |(path, item): (String, Value)| {
        let known = methods.into_iter().filter(move |method| item.get(method).is_some());
        known.map(move |method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.into_iter().flat_map(of).collect()
}

/// Who has shown a certificate with this role, as the door sees it.
fn shown(role: Option<Role>, terms: &Terms) -> Peer {
    let root = make_root("root", 0, Dates::ALWAYS).unwrap();
    let leaf = Leaf {
        subject: "ann".to_owned(),
        names: Vec::new(),
        role: role.map(|role| (CLUSTER.parse().unwrap(), role)),
        uses: Uses::Client,
        dates: Dates::ALWAYS,
    };
    let identity = Issuer::root(&root).unwrap().issue(&leaf).unwrap();
    peer::peer(&certificates(&identity.certificate).unwrap()[0], terms).unwrap()
}

/// The API's routes behind the guard, with nothing behind them.
fn routes() -> Router {
    let paths: BTreeSet<String> = described().into_iter().map(|(_, path)| path).collect();
    let all = paths.iter().fold(Router::new(), |router, path| {
        router.route(path, any(async || StatusCode::NO_CONTENT))
    });
    guarded(all)
}

async fn answer(router: &Router, peer: Option<&Peer>, method: &str, path: &str) -> (u16, String) {
    let path = path.replace("{name}", "web").replace("{id}", "0a");
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer.clone());
    }
    let response = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn every_route_has_its_roles_and_nothing_else_has() {
    let described: BTreeSet<(String, String)> = described().into_iter().collect();
    let declared: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, declared);
    assert_eq!(declared.len(), ROUTES.len(), "a route is there twice");
}

#[tokio::test]
async fn each_role_is_answered_what_is_declared_for_it_on_every_route() {
    let member = Terms { cluster: CLUSTER.parse().ok(), without_role: None };
    let router = routes();
    let refused = |role: Role| {
        let (router, peer) = (router.clone(), shown(Some(role), &member));
        async move {
            let mut refused = Vec::new();
            for (method, path) in described() {
                let (status, said) = answer(&router, Some(&peer), &method, &path).await;
                if status == 403 {
                    let role = format!("your certificate's role is {}", role.word());
                    assert!(said.contains(&role), "{method} {path}: {said}");
                    refused.push(format!("{method} {path}"));
                } else {
                    assert_eq!(status, 204, "{method} {path}");
                }
            }
            refused
        }
    };
    assert_eq!(refused(Role::Admin).await, [""; 0]);
    assert_eq!(
        refused(Role::Operator).await,
        [
            "GET /v1/cluster/access",
            "POST /v1/cluster/access",
            "DELETE /v1/cluster/access/{serial}",
            "GET /v1/cluster/tokens",
            "PUT /v1/cluster/tokens/{digest}",
            "DELETE /v1/cluster/tokens/{digest}",
            "GET /v1/etcd",
            "POST /v1/etcd/connect",
            "GET /v1/etcd/members",
            "PATCH /v1/etcd/members",
            "GET /v1/etcd/recovery",
            "POST /v1/etcd/recovery",
            "GET /v1/etcd/snapshot",
            "POST /v1/machine/reset",
            "POST /v1/machine/state/recreate",
            "DELETE /v1/machines/{id}",
        ]
    );
    let all = described();
    let of_reader = refused(Role::Reader).await;
    for (method, path) in &all {
        let request = format!("{method} {path}");
        let tunnel = request == "POST /v1/machines/{id}/connect";
        let secret = path.starts_with("/v1/etcd")
            || path.starts_with("/v1/cluster/tokens")
            || path.starts_with("/v1/cluster/access")
            || ["/v1/images/export", "/v1/units/{name}/definition"].contains(&path.as_str());
        let looks = tunnel || (method == "GET" && !secret);
        assert_eq!(of_reader.contains(&request), !looks, "{request}");
    }
    assert_eq!(refused(Role::Node).await.len(), all.len());
    // The door does not let etcd's peers in at all; if it did, they would be nobody.
    for (method, path) in &all {
        assert_eq!(answer(&router, None, method, path).await.0, 403, "{method} {path}");
        assert!(judge(Some(Role::Peer), &method.parse().unwrap(), path).is_err());
    }
}

#[tokio::test]
async fn on_a_lone_node_its_operator_s_certificate_does_everything() {
    let alone = Terms { cluster: None, without_role: Some(Role::Admin) };
    let (router, peer) = (routes(), shown(None, &alone));
    for (method, path) in described() {
        assert_eq!(answer(&router, Some(&peer), &method, &path).await.0, 204, "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_not_declared_is_for_admins_alone_and_heads_are_looked_at() {
    let router = guarded(routes().route("/v1/new", any(async || StatusCode::NO_CONTENT)));
    let member = Terms { cluster: CLUSTER.parse().ok(), without_role: None };
    for (role, new, head) in [
        (Role::Admin, 204, 204),
        (Role::Operator, 403, 204),
        (Role::Reader, 403, 204),
        (Role::Node, 403, 403),
    ] {
        let peer = shown(Some(role), &member);
        let peer = Some(&peer);
        assert_eq!(answer(&router, peer, "GET", "/v1/new").await.0, new, "{role:?}");
        assert_eq!(answer(&router, peer, "HEAD", "/v1/units").await.0, head, "{role:?}");
        assert_eq!(answer(&router, peer, "GET", "/v1/none").await.0, 404, "{role:?}");
    }
    assert!(sees_documents(Role::Operator) && !sees_documents(Role::Reader));
}
