//! Requests of an HTTP API over one connection: one on its way at a time, the others wait. Servers may close it after any
//! answer; what waits follows on another.

use std::collections::VecDeque;

use anyhow::Result;

use super::Event;
use crate::http::{Body, Head};

/// The most bytes of a refusal that are shown.
const SHOWN: usize = 200;

#[derive(Default)]
pub(super) struct Requests {
    waiting: VecDeque<Vec<u8>>,
    /// The request that was sent and whose answer is not complete.
    asked: Option<Vec<u8>>,
    answer: Option<Answer>,
    answered: u64,
    /// Answers on the present connection.
    answered_here: u64,
}

struct Answer {
    line: String,
    ok: bool,
    body: Body,
    text: Vec<u8>,
    keeps_alive: bool,
}

impl Requests {
    pub(super) fn push(&mut self, request: &[u8]) {
        self.waiting.push_back(request.to_vec());
    }

    /// The request whose turn it is, if one is.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        if self.asked.is_some() {
            return None;
        }
        self.asked = self.waiting.pop_front();
        self.asked.clone()
    }

    /// Handles what arrived; returns how many bytes that were, and whether the connection goes on.
    pub(super) fn receive(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) -> Result<(usize, bool)> {
        let mut used = 0;
        loop {
            let answer = match &mut self.answer {
                Some(answer) => answer,
                None => {
                    let Some(head) = Head::read(&bytes[used..])? else { return Ok((used, true)) };
                    used += head.len;
                    self.answer.insert(Answer {
                        ok: (200..300).contains(&head.status),
                        line: head.line,
                        body: head.body,
                        text: Vec::new(),
                        keeps_alive: head.keeps_alive,
                    })
                }
            };
            let text = &mut answer.text;
            used += answer.body.take(&bytes[used..], |part| {
                text.extend_from_slice(&part[..part.len().min(SHOWN - text.len().min(SHOWN))]);
            })?;
            if answer.body != Body::Ended {
                return Ok((used, true));
            }
            let keeps_alive = answer.keeps_alive;
            self.conclude(sink);
            if !keeps_alive || used == bytes.len() {
                return Ok((used, keeps_alive));
            }
        }
    }

    /// Whether the server may have closed the connection because it keeps none, or not for longer: after an answer, and
    /// before the beginning of the next one.
    pub(super) fn is_between_answers(&self) -> bool {
        self.answer.is_none() && self.answered_here > 0
    }

    /// There is another connection. A request that met the end of the last one is sent again.
    pub(super) fn reconnected(&mut self) {
        self.answered_here = 0;
        if let Some(request) = self.asked.take() {
            self.waiting.push_front(request);
        }
    }

    fn conclude(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        let Some(answer) = self.answer.take() else { return };
        self.asked = None;
        self.answered += 1;
        self.answered_here += 1;
        match answer.ok {
            true => sink(Event::Answer(self.answered)),
            false => {
                let text = String::from_utf8_lossy(&answer.text);
                sink(Event::Problem(&format!("publish refused: {} {}", answer.line, text.trim())));
            }
        }
    }
}
