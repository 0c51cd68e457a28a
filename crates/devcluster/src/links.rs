//! The wires of a cluster: bridges in the switch namespace, one port per node.
//!
//! Responsible for links and addresses through rtnetlink. Not for namespaces.
//! Invariant: every link is made inside the cluster's own namespaces, also for a
//! moment: the host's network never sees one.
//!
//! A partition is a set of bridges: a node talks to those whose ports hang on the
//! same one.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::error::{Error, Result, system};
use crate::namespaces;

/// The bridge on which all nodes hang while nothing is cut.
const MAIN: &str = "main";
/// A node's own name for its port.
const NODE_LINK: &str = "eth0";
const PREFIX_BITS: u8 = 24;

type Netlink<T> = std::result::Result<T, rtnetlink::Error>;

/// Talks to the kernel inside the namespace at `path`.
fn inside<T, F>(path: &Path, action: &str, work: impl FnOnce(Handle) -> F + Send) -> Result<T>
where
    T: Send,
    F: Future<Output = Netlink<T>>,
{
    namespaces::inside(path, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system("starting a runtime"))?;
        runtime.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().map_err(system("opening a netlink socket"))?;
            tokio::spawn(connection);
            let done = work(handle).await;
            done.map_err(|source| Error::Netlink { action: action.to_owned(), source: Box::new(source) })
        })
    })
}

async fn find(handle: &Handle, name: &str) -> Netlink<Option<LinkMessage>> {
    // The whole list is asked for: a lookup by name answers "no such device" as an error.
    let mut links = handle.link().get().execute();
    let mut found = None;
    while let Some(link) = links.try_next().await? {
        if link.attributes.iter().any(|a| matches!(a, LinkAttribute::IfName(n) if n == name)) {
            found = Some(link);
        }
    }
    Ok(found)
}

async fn bring_up(handle: &Handle, index: u32) -> Netlink<()> {
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
}

async fn loopback_up(handle: &Handle) -> Netlink<()> {
    match find(handle, "lo").await? {
        Some(link) => bring_up(handle, link.header.index).await,
        None => Ok(()),
    }
}

async fn bridge(handle: &Handle, name: &str) -> Netlink<u32> {
    if find(handle, name).await?.is_none() {
        handle.link().add(LinkBridge::new(name).build()).execute().await?;
    }
    match find(handle, name).await? {
        Some(link) => Ok(link.header.index),
        None => Err(rtnetlink::Error::RequestFailed),
    }
}

/// Prepares the switch namespace.
pub fn build_switch(switch: &Path) -> Result<()> {
    inside(switch, "building the cluster's bridge", async |handle| {
        loopback_up(&handle).await?;
        bridge(&handle, MAIN).await.map(drop)
    })
}

/// Connects a node's namespace to the main bridge under `port`, with an address; what is there already stays.
pub fn plug(switch: &Path, node: &Path, port: &str, address: Ipv4Addr) -> Result<()> {
    if !plugged(node)? {
        let namespace = namespaces::open(node)?;
        let descriptor = namespace.as_raw_fd();
        inside(switch, &format!("plugging in {port}"), async move |handle| {
            let main = bridge(&handle, MAIN).await?;
            if let Some(half) = find(&handle, port).await? {
                handle.link().del(half.header.index).execute().await?;
            }
            let peer = LinkUnspec::new_with_name(NODE_LINK).setns_by_fd(descriptor).build();
            let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
                .name(port.to_owned())
                .controller(main)
                .up()
                .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
                .build();
            handle.link().add(pair).execute().await
        })?;
        inside(node, &format!("addressing {port}"), async move |handle| {
            loopback_up(&handle).await?;
            let link = find(&handle, NODE_LINK).await?.ok_or(rtnetlink::Error::RequestFailed)?;
            let index = link.header.index;
            handle.address().add(index, IpAddr::V4(address), PREFIX_BITS).replace().execute().await?;
            bring_up(&handle, index).await
        })?;
    }
    set_power(switch, port, true)
}

/// Whether the node's own end exists and is up; it is brought up last.
fn plugged(node: &Path) -> Result<bool> {
    inside(node, "looking for the node's link", async |handle| {
        let link = find(&handle, NODE_LINK).await?;
        Ok(link.is_some_and(|l| l.header.flags.contains(LinkFlags::Up)))
    })
}

/// Switches a node's port on or off, as a cable is pulled.
pub fn set_power(switch: &Path, port: &str, on: bool) -> Result<()> {
    inside(switch, &format!("switching the port of {port}"), async move |handle| {
        let Some(link) = find(&handle, port).await? else { return Ok(()) };
        let change = LinkUnspec::new_with_index(link.header.index);
        handle.link().set(if on { change.up() } else { change.down() }.build()).execute().await
    })
}

/// Arranges ports in groups: one bridge per group, everybody else on the main one.
pub fn arrange(switch: &Path, all: &[String], groups: &[Vec<String>]) -> Result<()> {
    inside(switch, "rearranging the cluster's bridges", async move |handle| {
        let main = bridge(&handle, MAIN).await?;
        let mut bridges = Vec::new();
        for number in 1..=groups.len() {
            bridges.push(bridge(&handle, &side(number)).await?);
        }
        for port in all {
            let group = groups.iter().position(|g| g.contains(port));
            let target = group.and_then(|g| bridges.get(g).copied()).unwrap_or(main);
            let Some(link) = find(&handle, port).await? else { continue };
            if !link.attributes.contains(&LinkAttribute::Controller(target)) {
                let change = LinkUnspec::new_with_index(link.header.index).controller(target);
                handle.link().set(change.build()).execute().await?;
            }
        }
        for number in groups.len() + 1..=all.len() {
            let Some(empty) = find(&handle, &side(number)).await? else { break };
            handle.link().del(empty.header.index).execute().await?;
        }
        Ok(())
    })
}

fn side(number: usize) -> String {
    format!("side{number}")
}
