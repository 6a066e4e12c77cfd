//! A simulated panel: CAN buses, boards with their flash and power, a fixture, and faults.
//!
//! [`World`] is a discrete-event simulation that is deterministic from a seed. Its boards run the real node code
//! of `panel-protocol` ([`NodeFirmware`]); what is simulated is everything around it: bit-exact frame lengths,
//! arbitration, error frames and fault confinement, receive FIFOs and processor time, flash that enforces its
//! datasheet's rules, power and reset. [`WorldConfig`] says what there is, [`Scenario`] what is wrong with it.
//!
//! What the crate deliberately does not do: it knows no image, no host protocol and no wall clock. A driver
//! moves frames between [`World`] and the host's sessions, in virtual or in real time:
//!
//! ```
//! use panel_protocol::time::Micros;
//! use panel_simulator::{BusSpeed, Chip, HostEvent, World, WorldConfig};
//!
//! let chip = Chip::by_name("F405").ok_or("no such chip")?;
//! let mut world = World::new(WorldConfig::panel(21, chip, BusSpeed::CAN_1M), 7)?;
//! let slots = world.slots().to_vec();
//! world.set_power(&slots, true);
//! world.advance(Micros(80_000));
//! let frame = panel_protocol::message::HostMessage::Stop.to_frame();
//! world.host_send(0, &frame)?;
//! while world.now() < Micros(85_000) {
//!     world.advance(Micros(85_000));
//!     while let Some(event) = world.poll_host() {
//!         assert!(matches!(event, HostEvent::Sent { .. }), "nobody answers a stop");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
pub mod bits;
mod board;
mod bus;
mod chip;
mod config;
mod controller;
mod device;
mod fault;
mod firmware;
mod fitting;
mod fixture;
mod flash;
mod hardware;
mod key;
mod loader;
mod rng;
mod scenario;
mod set;
mod stats;
mod timers;
mod trace;
pub mod wire;
mod world;

pub use board::{Application, BoardCounters};
pub use chip::{CHIPS, Chip, FLASH_BASE, WriteRule};
pub use config::{
    AdapterConfig, AgentCode, BusSpeed, RomConfig, RomLink, SlotConfig, UnknownSpeed, WorldConfig, WorldError,
};
pub use device::{CanPort, Device};
pub use fault::{Fault, Trigger};
pub use firmware::{Firmware, NodeFirmware, Ram};
pub use flash::{Options, StoreError};
pub use hardware::{BoardPort, Hardware};
pub use key::KeyFault;
pub use loader::Loader;
pub use scenario::{Scenario, ScenarioError};
pub use stats::{BusStats, ErrorKind};
pub use trace::{Trace, TraceEvent};
pub use world::{HostEvent, QueueFull, World};
