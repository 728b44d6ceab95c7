//! Services: what the catalogue says, and instances that are not among its answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ferrite_cluster::catalogue::{Event, View};
use ferrite_cluster::engine::Presence;
use ferrite_cluster::records::{InstanceState, ServicePort, Transport};
use ferrite_schema::api::{ApiError, ServiceInstance};

use super::picture::Picture;
use crate::api::error::Failure;
use crate::node::Node;

#[utoipa::path(
    get,
    path = "/v1/cluster/services",
    tag = "cluster",
    responses((status = 200, description = "All instances of services, by name", body = Vec<ServiceInstance>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn list(
    State(node): State<Arc<Node>>,
) -> Result<Json<Vec<ServiceInstance>>, Failure> {
    Ok(Json(services(&super::picture(&super::store(&node)?).await?)))
}

/// Instances of services. A machine that is lost is told as far as its last word goes.
fn services(picture: &Picture) -> Vec<ServiceInstance> {
    let mut view = View::default();
    let states = picture.states.iter();
    let mut events: Vec<Event> =
        states.map(|(id, state)| Event::State(id.clone(), Some(state.clone()))).collect();
    let there = picture.alive.iter().cloned();
    events.extend(there.map(|id| Event::Presence(id, Presence::Alive)));
    view.step(&events);
    let mut all = BTreeMap::new();
    for (id, state) in &picture.states {
        for (name, instance) in &state.instances {
            let answers = view.catalogue().services.get(name.service());
            let endpoint = answers.and_then(|service| service.get(name));
            let ready = endpoint.is_some_and(|endpoint| endpoint.machine == *id);
            let row = ServiceInstance {
                service: name.service().to_owned(),
                instance: name.to_string(),
                machine: id.to_string(),
                machine_name: picture.name_of(id),
                addresses: addresses(instance),
                ports: ports(&instance.ports),
                ready,
            };
            all.insert((row.service.clone(), name.clone(), id.clone()), row);
        }
    }
    all.into_values().collect()
}

pub(super) fn addresses(instance: &InstanceState) -> Vec<String> {
    instance.addresses.iter().map(ToString::to_string).collect()
}

pub(super) fn ports(ports: &[ServicePort]) -> Vec<String> {
    let word = |transport| match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    ports.iter().map(|port| format!("{}/{}", port.port, word(port.protocol))).collect()
}

#[cfg(test)]
pub(super) fn of(picture: &Picture) -> Vec<ServiceInstance> {
    services(picture)
}
