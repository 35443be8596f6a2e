/** Runs that are killed, and a client that follows them through every crash. */

import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { stubOf } from './conversations.ts';
import { readStream, type StreamEvent, sendTurn } from './turns.ts';
import { yieldToEventLoop } from './yield-to-event-loop.ts';

/** When something dies: once a point was passed so many times. `one`: not all objects, but the one of that number. */
export interface PlannedKill<Point extends string> {
  point: Point;
  after: number;
  one?: number | undefined;
}

/** Kills objects the next time that a planned point is reached: all of them, or one. */
export class Killer<Point extends string> {
  /** How often something died at each point. */
  readonly killCounts: Map<Point, number>;
  #plannedKills: PlannedKill<Point>[] = [];
  #dueKill: 'all' | number | undefined;
  /** The conversations that may be killed by themselves, by their ids. */
  victimIds: string[] = [];

  constructor(points: readonly Point[]) {
    this.killCounts = new Map(points.map((point) => [point, 0]));
  }

  /** @param planned one after the other */
  planKills(planned: readonly PlannedKill<Point>[]): void {
    this.#plannedKills = planned.map((kill) => ({ ...kill }));
  }

  /** Where all objects die here, this never ends. */
  async reachPoint(point: Point): Promise<void> {
    const next = this.#plannedKills[0];
    if (next?.point !== point) return;
    next.after -= 1;
    if (next.after >= 0) return;
    this.#plannedKills.shift();
    this.killCounts.set(point, (this.killCounts.get(point) ?? 0) + 1);
    // What waits here for its end must get it.
    if (this.#dueKill !== 'all') this.#dueKill = next.one ?? 'all';
    if (next.one === undefined) await new Promise(() => {});
  }

  /** Kills where that is due, until the work has ended. An object cannot be aborted from inside another one. */
  async runWithKills<T>(work: Promise<T>): Promise<T> {
    let hasEnded = false;
    const ended = work.finally(() => {
      hasEnded = true;
    });
    ended.catch(() => {});
    while (!hasEnded) {
      // No promise of an object that dies wakes anybody.
      await yieldToEventLoop();
      const due = this.#dueKill;
      if (due === undefined) continue;
      this.#dueKill = undefined;
      if (due === 'all') await abortAllDurableObjects();
      else await killObject(this.victimIds[due % Math.max(1, this.victimIds.length)]);
    }
    return await ended;
  }
}

async function killObject(id: string | undefined): Promise<void> {
  if (id === undefined) return;
  // What is called when an object is aborted throws.
  await runInDurableObject(stubOf(id), (_, state) => state.abort('killed by the test')).catch(() => {});
}

/**
 * Follows a run through every crash.
 *
 * @param onPiece called with each piece of a stream when the client receives it
 * @returns each event that a client got, and how many runs failed before they said anything
 */
export async function followRun(
  body: object,
  id: string,
  onPiece?: (piece: Uint8Array) => void,
): Promise<{ events: StreamEvent[]; failed: number }> {
  const events: StreamEvent[] = [];
  let failed = 0;
  let turn: string | undefined;
  for (let tries = 0; tries < 40; tries += 1) {
    const last = events.findLast((event) => event.id)?.id;
    let stream: ReadableStream<Uint8Array> | undefined;
    try {
      if (last === undefined) {
        const answer = await sendTurn(body, { id, key: `key-${id}` });
        if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
        if (turn !== answer.turn) events.length = 0;
        turn = answer.turn;
        stream = answer.body;
      } else {
        const resumed = await stubOf(id).resumeTurnStream(last);
        if (resumed.kind === 'none') return { events, failed };
        if (resumed.kind !== 'stream') throw new Error(resumed.kind);
        stream = resumed.body as ReadableStream<Uint8Array>;
      }
    } catch {
      // The object died before it answered.
      continue;
    }
    const told = await readStream(stream, onPiece);
    events.push(...told.events);
    const isUnsaid = events.every(({ event }) => event === 'error' || event === 'ping');
    if (told.isWhole && !isUnsaid) return { events, failed };
    // A turn that failed before it said anything is none: the request is sent again.
    if (!told.isWhole) continue;
    events.length = 0;
    failed += 1;
  }
  throw new Error(`it never ends: ${JSON.stringify(events.at(-1))}`);
}

/**
 * A stream that stays open before its last events, where its reader dies there.
 *
 * @param alone how many events come first, each by itself. Default: the answer comes in one piece, and dies before its end
 */
export function createDyingStream(text: string, dies: () => Promise<void>, alone?: number): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const end = text.indexOf('event: message_delta');
  const events = text.split(/(?<=\n\n)/);
  const pieces =
    alone === undefined
      ? [text.slice(0, end), text.slice(end)]
      : [...events.slice(0, alone), events.slice(alone).join('')];
  return new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        const piece = pieces.shift();
        if (piece === undefined) {
          controller.close();
          controller.byobRequest?.respond(0);
          return;
        }
        if (pieces.length === 0) await dies();
        controller.enqueue(encoder.encode(piece));
      },
    },
    { highWaterMark: 0 },
  );
}
