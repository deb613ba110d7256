//! What is on its way to subscribers and inboxes, whose queues are bounded.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::inbox::Arrival;
use crate::subscription::Item;

enum Delivery {
    Item(mpsc::Sender<Item>, Item),
    Arrival(mpsc::Sender<Arrival>, Arrival),
}

/// Items in the order in which they came. Never more than what one read from the socket holds: while somebody has no
/// room, nothing is read.
#[derive(Default)]
pub(super) struct Deliveries {
    waiting: VecDeque<Delivery>,
}

/// Whoever has no room.
pub(crate) enum Full {
    Subscription(mpsc::Sender<Item>),
    Inbox(mpsc::Sender<Arrival>),
}

impl Full {
    /// Waits until there is room, or nobody who wants it.
    ///
    /// Cancel-safe.
    pub(crate) async fn room(&self) {
        match self {
            Self::Subscription(items) => drop(items.reserve().await),
            Self::Inbox(arrivals) => drop(arrivals.reserve().await),
        }
    }
}

impl Deliveries {
    pub(super) fn item(&mut self, to: mpsc::Sender<Item>, item: Item) {
        self.waiting.push_back(Delivery::Item(to, item));
    }

    pub(super) fn arrival(&mut self, to: mpsc::Sender<Arrival>, arrival: Arrival) {
        self.waiting.push_back(Delivery::Arrival(to, arrival));
    }

    /// Hands over as much as there is room for, and returns who has none. Who does not listen any more is put into
    /// `gone`.
    pub(super) fn hand_over(&mut self, gone: &mut Vec<mpsc::Sender<Item>>) -> Option<Full> {
        while let Some(delivery) = self.waiting.pop_front() {
            match delivery {
                Delivery::Item(to, item) => match to.try_send(item) {
                    Ok(()) => {}
                    Err(TrySendError::Full(item)) => {
                        self.waiting.push_front(Delivery::Item(to.clone(), item));
                        return Some(Full::Subscription(to));
                    }
                    Err(TrySendError::Closed(_)) => gone.push(to),
                },
                Delivery::Arrival(to, arrival) => match to.try_send(arrival) {
                    Ok(()) | Err(TrySendError::Closed(_)) => {}
                    Err(TrySendError::Full(arrival)) => {
                        self.waiting.push_front(Delivery::Arrival(to.clone(), arrival));
                        return Some(Full::Inbox(to));
                    }
                },
            }
        }
        None
    }

    /// Nothing will be waited for any more: what there is room for still arrives.
    pub(super) fn end(&mut self) {
        for delivery in self.waiting.drain(..) {
            match delivery {
                Delivery::Item(to, item) => drop(to.try_send(item)),
                Delivery::Arrival(to, arrival) => drop(to.try_send(arrival)),
            }
        }
    }
}
