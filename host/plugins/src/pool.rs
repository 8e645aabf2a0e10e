//! The instances of one plugin: started when they are needed, kept while they are sound.
//!
//! An instance is unsound from the moment a call begins until the call has succeeded, so a trap,
//! an exceeded limit or a caller that went away never leaks into the next call: what is unsound
//! is dropped, with everything that it was waiting for.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use deadpool::managed::{self, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult};
use tokio::time::{Instant, timeout_at};
use wasmtime::{Engine, Store, Trap, WasmBacktrace, component::InstancePre};
use wasmtime_wasi::I32Exit;

use crate::{
    CallError,
    denials::printable,
    guest::{Exceeded, Guest, Shared, too_much},
    meter::{Meter, TimeUp},
};

/// What became of a plugin's `init`; the error is its own word.
pub(crate) type Started<C> = Result<(<C as Contract>::Exports, <C as Contract>::Told), String>;

/// One version of one kind's contract, as far as starting an instance goes.
pub(crate) trait Contract: Sized + Send + Sync + 'static {
    /// The component, linked, with its exports looked up.
    type Linked: Send + Sync;
    /// The exports of an instance.
    type Exports: Send + Sync;

    /// What a plugin says of itself when it starts.
    type Told: Send + Sync;

    /// After how many calls an instance is replaced.
    const USES: u32;

    /// Looks the exports up.
    fn link(component: InstancePre<Guest>) -> wasmtime::Result<Self::Linked>;

    /// Starts an instance and gives it its configuration; the inner result is the plugin's word
    /// about that.
    fn start(
        linked: &Self::Linked,
        store: &mut Store<Guest>,
        config: &str,
    ) -> impl Future<Output = wasmtime::Result<Started<Self>>> + Send;
}

/// The instances of one plugin.
pub(crate) struct Pool<C: Contract> {
    shared: Arc<Shared>,
    /// By the first instance; all have the same code and configuration.
    told: C::Told,
    instances: managed::Pool<Starter<C>>,
}

/// Starts instances.
pub(crate) struct Starter<C: Contract> {
    engine: Engine,
    linked: C::Linked,
    shared: Arc<Shared>,
    /// The instance that was started when the plugin was loaded, until somebody needs it.
    first: Mutex<Option<Instance<C>>>,
}

/// One instance, or where one was.
pub(crate) struct Instance<C: Contract> {
    live: Option<Live<C>>,
    uses: u32,
}

struct Live<C: Contract> {
    store: Store<Guest>,
    exports: C::Exports,
    meter: Arc<Meter>,
}

/// An instance that is in use. Goes back when it is dropped, if it is sound.
pub(crate) struct Lease<C: Contract> {
    shared: Arc<Shared>,
    instance: Object<Starter<C>>,
    sound: bool,
}

/// A call that has begun.
pub(crate) struct Call<'a, C: Contract> {
    pub(crate) store: &'a mut Store<Guest>,
    pub(crate) exports: &'a C::Exports,
    pub(crate) clock: Clock<'a>,
}

/// The time of a call.
pub(crate) struct Clock<'a> {
    meter: &'a Meter,
    deadline: Instant,
}

/// Why an instance could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("init: {0}")]
    Config(String),
    #[error("{0}")]
    Broken(String),
}

impl<C: Contract> Pool<C> {
    /// A pool with one instance in it, which proves that instances can be started.
    pub(crate) async fn fill(
        engine: &Engine,
        component: InstancePre<Guest>,
        shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        let linked = C::link(component).map_err(|error| StartError::Broken(format!("{error:#}")))?;
        let starter = Starter {
            engine: engine.clone(),
            linked,
            shared: shared.clone(),
            first: Mutex::default(),
        };
        let (first, told) = starter.start(shared.deadline()).await?;
        *starter.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        let instances = managed::Pool::builder(starter)
            .max_size(usize::from(shared.bounds.instances))
            // The instance that was used last is the one that is in the processor's caches.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|error| StartError::Broken(error.to_string()))?;
        Ok(Self {
            shared: shared.clone(),
            told,
            instances,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What the plugin said of itself when it started.
    pub(crate) fn told(&self) -> &C::Told {
        &self.told
    }

    /// When a call that begins now has to be over.
    pub(crate) fn deadline(&self) -> Instant {
        self.shared.deadline()
    }

    /// An instance, as soon as there is one.
    pub(crate) async fn lease(&self, deadline: Instant) -> Result<Lease<C>, CallError> {
        self.shared.stats.called();
        let reason = match timeout_at(deadline, self.instances.get()).await {
            Ok(Ok(instance)) => {
                return Ok(Lease {
                    shared: self.shared.clone(),
                    instance,
                    sound: true,
                });
            }
            Ok(Err(PoolError::Backend(error))) => format!("no new instance could be started: {error}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!(
                "no instance became free within {:?}: all {} are in use \
                 (plugins.{}.limits.instances)",
                self.shared.bounds.time, self.shared.bounds.instances, self.shared.name
            ),
        };
        Err(self.shared.failed(reason))
    }
}

impl<C: Contract> Starter<C> {
    async fn start(&self, deadline: Instant) -> Result<(Instance<C>, C::Told), StartError> {
        let mut store = Guest::store(&self.engine, &self.shared);
        let meter = store.data().meter.clone();
        store.data().journal.begin(None);
        let begun = meter
            .run(deadline, C::start(&self.linked, &mut store, &self.shared.config))
            .await;
        let started = self
            .shared
            .settle(&mut store, begun)
            .map_err(StartError::Broken)?;
        let (exports, told) =
            started.map_err(|refused| StartError::Config(printable(&refused).to_string()))?;
        self.shared.stats.started();
        let live = Some(Live {
            store,
            exports,
            meter,
        });
        Ok((Instance { live, uses: 0 }, told))
    }
}

impl<C: Contract> managed::Manager for Starter<C> {
    type Type = Instance<C>;
    type Error = StartError;

    async fn create(&self) -> Result<Instance<C>, StartError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first {
            Some(first) => Ok(first),
            None => Ok(self.start(self.shared.deadline()).await?.0),
        }
    }

    async fn recycle(&self, instance: &mut Instance<C>, _: &Metrics) -> RecycleResult<StartError> {
        match &instance.live {
            Some(live) if instance.uses < C::USES && !live.store.data().usage.is_bloated() => Ok(()),
            _ => Err(RecycleError::message("the instance has served its time")),
        }
    }
}

impl<C: Contract> Lease<C> {
    /// When a call that begins now has to be over.
    pub(crate) fn deadline(&self) -> Instant {
        self.shared.deadline()
    }

    /// Begins a call: from here on the instance is unsound.
    pub(crate) fn begin(
        &mut self,
        request: Option<&str>,
        deadline: Instant,
    ) -> Result<Call<'_, C>, CallError> {
        self.sound = false;
        self.instance.uses += 1;
        match &mut self.instance.live {
            Some(Live {
                store,
                exports,
                meter,
            }) => {
                store.set_epoch_deadline(1);
                store.data_mut().usage.exceeded = None;
                store.data().journal.begin(request);
                Ok(Call {
                    store,
                    exports,
                    clock: Clock { meter, deadline },
                })
            }
            None => Err(self.shared.failed("the call before this one has failed".into())),
        }
    }

    /// Ends a call: with an answer the instance is sound again, without one it is gone.
    pub(crate) fn end<T>(&mut self, outcome: Result<wasmtime::Result<T>, TimeUp>) -> Result<T, CallError> {
        let Some(live) = &mut self.instance.live else {
            return Err(self.shared.failed("the call before this one has failed".into()));
        };
        match self.shared.settle(&mut live.store, outcome) {
            Ok(answer) => {
                self.sound = true;
                Ok(answer)
            }
            Err(reason) => {
                self.instance.live = None;
                Err(self.shared.failed(reason))
            }
        }
    }

    /// Gives an instance up that answered, but in a way that the contract doesn't allow.
    pub(crate) fn condemn(&mut self, breach: &str) -> CallError {
        self.sound = false;
        self.instance.live = None;
        self.shared
            .failed(format!("its answer breaks the contract: {breach}"))
    }

    /// Holds the instance back from others, because it keeps something between two calls: it is
    /// sound again only after the next call that ends well.
    pub(crate) fn hold(&mut self) {
        self.sound = false;
    }
}

impl<C: Contract> Drop for Lease<C> {
    fn drop(&mut self) {
        if !self.sound {
            self.instance.live = None;
        }
    }
}

impl Clock<'_> {
    /// Runs the call until it ends or its time is up.
    pub(crate) async fn run<F: Future>(self, call: F) -> Result<F::Output, TimeUp> {
        self.meter.run(self.deadline, call).await
    }
}

impl Shared {
    /// Turns the outcome of a call into an answer or the reason why there is none.
    fn settle<T>(
        &self,
        store: &mut Store<Guest>,
        outcome: Result<wasmtime::Result<T>, TimeUp>,
    ) -> Result<T, String> {
        let last_words = store.data().journal.end();
        let error = match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(TimeUp) => {
                let (time, name) = (self.bounds.time, &self.name);
                return Err(format!("no answer within {time:?} (plugins.{name}.limits.time)"));
            }
        };
        self.stats.trapped();
        let reason = self.reason(store.data().usage.exceeded, &error);
        tracing::warn!(
            plugin = &*self.name,
            last_words,
            trap = format!("{error:?}"),
            "the call was ended: {reason}"
        );
        Err(reason)
    }

    fn reason(&self, exceeded: Option<Exceeded>, error: &wasmtime::Error) -> String {
        if let Some(exceeded) = exceeded {
            return exceeded.in_words(&self.name, &self.bounds);
        }
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return format!("it ended itself by exit({code}), which a plugin must not do");
        }
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return format!(
                "it trapped: {}",
                trap.to_string().trim_start_matches("wasm trap: ")
            );
        }
        let cause = error.root_cause().to_string();
        if cause.contains("fuel allocated for hostcalls") {
            return too_much(self.bounds.transfer);
        }
        // Without a backtrace no code of the plugin has run: it could not be linked, and the chain of
        // errors says where the types differ.
        if error.downcast_ref::<WasmBacktrace>().is_none() {
            format!("{error:#}")
        } else {
            cause
        }
    }

    /// Counts a call that got no answer.
    pub(crate) fn failed(&self, reason: String) -> CallError {
        self.stats.failed();
        CallError {
            plugin: self.name.to_string(),
            reason,
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.bounds.time
    }
}

impl<C: Contract> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("plugin", &self.shared.name)
            .finish_non_exhaustive()
    }
}
