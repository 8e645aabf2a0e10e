//! What the gateway keeps beside each instance: its WASI context, which holds nothing, and the
//! limits that it runs under.

use std::{fmt, sync::Arc};

use wasmtime::{
    Engine, ResourceLimiter, Store, StoreContextMut, UpdateDeadline,
    component::{HasData, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{
    config::{Bounds, Size},
    egress::{Egress, Hooks},
    journal::{SharedJournal, Stream},
    key_value::KeyValue,
    kubernetes::KubernetesPolicy,
    meter::{Meter, give_way},
    recovery::Observer,
    stats::Stats,
};

/// Entries of one table. Components built by LLVM have a few thousand: one for each function
/// that is called through a pointer.
pub(crate) const MAX_TABLE: usize = 20_000;

/// Core instances, memories and tables of one component: the program, its adapter, and shims.
const MAX_CORE_INSTANCES: usize = 32;
pub(crate) const MAX_MEMORIES: u32 = 4;
pub(crate) const MAX_TABLES: u32 = 8;

/// Handles that a guest holds at the same time, and resources that the gateway keeps for it:
/// streams, requests, timers. A program that needs more is leaking.
const MAX_HANDLES: usize = 16_384;

/// Random bytes that are made at once for a guest.
const MAX_RANDOM: u64 = 64 << 10;

/// What all instances of one plugin share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) config: String,
    pub(crate) bounds: Bounds,
    pub(crate) egress: Arc<Egress>,
    pub(crate) key_value: Option<KeyValue>,
    pub(crate) kubernetes: KubernetesPolicy,
    pub(crate) sees_etcd: bool,
    pub(crate) stats: Stats,
}

/// The data of one instance's store.
pub(crate) struct Guest {
    pub(crate) shared: Arc<Shared>,
    pub(crate) journal: SharedJournal,
    pub(crate) meter: Arc<Meter>,
    pub(crate) usage: Usage,
    /// What a call of a recovery plugin sees with.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
}

/// What an instance uses, and the limit that it ran into.
#[derive(Debug)]
pub(crate) struct Usage {
    bound: usize,
    memory: usize,
    pub(crate) exceeded: Option<Exceeded>,
}

/// A limit that stopped a guest, or that it did not get past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Cpu,
    Memory,
    Table,
}

/// Selects [`Guest`] as the implementation of the host's interfaces.
pub(crate) struct HasGuest;

impl HasData for HasGuest {
    type Data<'a> = &'a mut Guest;
}

impl Guest {
    /// An empty store for an instance of a plugin, with all limits set.
    pub(crate) fn store(engine: &Engine, shared: &Arc<Shared>) -> Store<Self> {
        let journal = SharedJournal::new(shared.name.clone());
        let wasi = WasiCtx::builder()
            .stdout(journal.stream(Stream::Output))
            .stderr(journal.stream(Stream::Error))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let bounds = &shared.bounds;
        let bound = usize::try_from(bounds.memory.0).unwrap_or(usize::MAX);
        let guest = Self {
            shared: shared.clone(),
            journal,
            meter: Arc::new(Meter::new()),
            usage: Usage {
                bound,
                memory: 0,
                exceeded: None,
            },
            observer: None,
            wasi,
            http: WasiHttpCtx::new(),
            hooks: Hooks(shared.egress.clone()),
            table,
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.usage);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| Ok(on_tick(store)));
        store.set_hostcall_fuel(usize::try_from(bounds.transfer.0).unwrap_or(usize::MAX));
        store.set_max_component_handles(MAX_HANDLES);
        store
    }
}

fn on_tick(mut store: StoreContextMut<'_, Guest>) -> UpdateDeadline {
    let guest = store.data_mut();
    if guest.meter.spent() < guest.shared.bounds.cpu {
        return give_way();
    }
    guest.usage.exceeded = Some(Exceeded::Cpu);
    UpdateDeadline::Interrupt
}

impl Usage {
    /// Whether so much memory is in use that the instance is better replaced: memory of a
    /// component never shrinks.
    pub(crate) fn is_bloated(&self) -> bool {
        self.memory > self.bound / 2
    }
}

impl ResourceLimiter for Usage {
    /// The limit is for all memories of an instance together.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.memory.saturating_add(more);
        if total > self.bound || maximum.is_some_and(|maximum| desired > maximum) {
            self.exceeded = Some(Exceeded::Memory);
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE || maximum.is_some_and(|maximum| desired > maximum) {
            self.exceeded = Some(Exceeded::Table);
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

impl Exceeded {
    /// What happened, and what to do about it.
    pub(crate) fn in_words(self, plugin: &str, bounds: &Bounds) -> String {
        match self {
            Self::Cpu => format!(
                "its processor time of {:?} was spent: it loops, or gets more than it can do in that time \
                 (plugins.{plugin}.limits.cpu)",
                bounds.cpu
            ),
            Self::Memory => {
                let limit = bounds.memory;
                format!("its memory limit of {limit} was reached (plugins.{plugin}.limits.memory)")
            }
            Self::Table => format!("a table of more than {MAX_TABLE} entries was asked for"),
        }
    }
}

/// What a call handed over, when it was too much.
pub(crate) fn too_much(transfer: Size) -> String {
    format!("it handed over more than {transfer} at once")
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("plugin", &self.shared.name)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}
