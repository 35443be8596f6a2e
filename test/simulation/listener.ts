/** Somebody who hears a turn: each event once, in one order, whoever else hears it. */
import { END_OF_STREAM } from '#edge/conversations/turn/event-log.ts';
import { type Host, InvariantViolation } from './host.ts';
import type { World } from './world.ts';

/** What all listeners of a world have heard, by the ids of the events. */
export type ReceivedEvents = Map<string, string>;

const TRAILER_SEPARATOR = String.fromCharCode(END_OF_STREAM);
const decoder = new TextDecoder();

export class Listener {
  readonly #receivedEvents: ReceivedEvents;
  readonly turn: string;
  /** The number of the last event. */
  lastNumber = 0;
  #rest = '';
  /** How it ended for this listener: by the last event of an answer, or by an error. */
  end: 'message_stop' | 'error' | undefined;
  /** The trailer has come: nothing more will. */
  isOver = false;
  /** It was cut off by a crash. */
  wasBroken = false;
  readonly #host: Host;

  constructor(turn: string, heard: ReceivedEvents, host: Host) {
    this.turn = turn;
    this.#receivedEvents = heard;
    this.#host = host;
  }

  /** Takes what has come. */
  handlePiece(piece: string): void {
    const [text = '', trailer] = (this.#rest + piece).split(TRAILER_SEPARATOR);
    const events = text.split('\n\n');
    this.#rest = events.pop() ?? '';
    for (const event of events) this.#handleEvent(event);
    if (trailer !== undefined) this.isOver = true;
  }

  #handleEvent(event: string): void {
    // Remarks and pings are no part of the sequence.
    if (event.startsWith(':') || event.startsWith('event: ping')) return;
    const [, turn, number] = /^id: (\S+)-(\d+)\n/.exec(event) ?? [];
    if (turn !== this.turn || number === undefined) throw new InvariantViolation(`an event of another turn: ${event}`);
    const id = `${turn}-${number}`;
    const known = this.#receivedEvents.get(id);
    if (known !== undefined && known !== event)
      throw new InvariantViolation(`two events are ${id}: ${known} and ${event}`);
    this.#receivedEvents.set(id, event);
    const next = this.lastNumber + 1;
    // Behind a crash numbers are left out, and only there.
    const isGap = Number(number) > next;
    if (Number(number) < next || (isGap && this.#host.deathCount === 0)) {
      throw new InvariantViolation(`event ${number} of ${turn} came where ${next} was to come`);
    }
    this.lastNumber = Number(number);
    if (this.end) throw new InvariantViolation(`an event came behind the end of ${turn}: ${event}`);
    if (/\nevent: message_stop/.test(event)) this.end = 'message_stop';
    else if (/\nevent: error/.test(event)) this.end = 'error';
  }
}

/**
 * Reads a stream that an object has handed out.
 *
 * @returns whether it came to its end: not if the object died
 */
export async function readToListener(world: World, host: Host, listener: Listener, body: ReadableStream<Uint8Array>) {
  let isBroken = false;
  const broken = new Promise<'broken'>((resolve) => {
    host.mourn(body, () => {
      isBroken = true;
      resolve('broken');
    });
  });
  const reader = body.getReader();
  for (;;) {
    await world.hop(`${listener.turn} is read`);
    if (isBroken) return false;
    const piece = await Promise.race([reader.read().catch(() => 'broken' as const), broken]);
    if (piece === 'broken' || isBroken) return false;
    if (piece.done) return listener.isOver;
    // What leaves an object leaves once what came before it is stored.
    const { value } = piece;
    const heard = await Promise.race([
      new Promise<true>((resolve) => host.sendAfterCommit(() => resolve(true))),
      broken.then(() => false),
    ]);
    if (!heard) return false;
    try {
      listener.handlePiece(decoder.decode(value));
    } catch (thrown) {
      world.fail(String(thrown));
      return false;
    }
  }
}
