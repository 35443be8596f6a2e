/** Whoever calls a conversation's object as the edge does: asks, follows what is answered, and comes back when that breaks off. */

import type { Resumed, TurnRequest } from '#edge/conversations/object/contract.ts';
import { unpack } from '#edge/conversations/object/rpc-response.ts';
import type { PackedAnswer, TurnAnswer } from '#edge/conversations/views/turn-answer.ts';
import type { Host } from './host.ts';
import { type Listener, listen } from './listener.ts';
import type { World } from './world.ts';

/** The account whose conversation is called, and its id. */
export const ACCOUNT = 'alice';
export const ID = 'c1';

/** Where callers note what they hear. */
interface Heard {
  /** What the last turn that was not begun was told. */
  lastError: string | undefined;
  listener(turn: string): Listener;
  /** The questions of those who were told that their turn has begun. */
  readonly acknowledged?: Set<string>;
}

/** Members of a Messages body besides the question. */
interface Asked {
  key?: string | undefined;
  stream: boolean;
  tools?: unknown;
}

export class Caller {
  readonly #world: World;
  readonly #conversation: Host;
  readonly #heard: Heard;
  readonly #comesTwice: (method: string) => boolean;
  /** How many requests were made. */
  requests = 0;

  /** @param comesTwice whether a call of a method may be doubled on its way */
  constructor(world: World, conversation: Host, heard: Heard, comesTwice: (method: string) => boolean) {
    this.#world = world;
    this.#conversation = conversation;
    this.#heard = heard;
    this.#comesTwice = comesTwice;
  }

  newId(): string {
    this.requests += 1;
    return `req_${String(this.requests).padStart(24, '0')}`;
  }

  async call(method: string, ...args: unknown[]): Promise<unknown> {
    return await this.#world.call(this.#conversation, method, args, this.#comesTwice(method));
  }

  /** Asks a question, and hears the answer to its end. */
  async ask(question: string, { key, stream, tools }: Asked): Promise<void> {
    const messages = [{ role: 'user', content: question }];
    const body = JSON.stringify({ model: 'claude-opus-5-5', max_tokens: 16_384, stream, tools, messages });
    const request: Omit<TurnRequest, 'body'> = {
      place: { account: ACCOUNT, id: ID },
      call: { id: this.newId(), route: 'messages', hash: body, key, retried: false, again: false, stream },
      caller: { account: ACCOUNT, scopes: ['messages'], token: undefined },
      asked: {},
      headers: { 'content-type': 'application/json' },
      query: '',
    };
    const ask = async (again: boolean) =>
      unpack(
        (await this.call(
          'turn',
          JSON.stringify({ ...request, call: { ...request.call, again } }),
          body,
        )) as PackedAnswer,
      );
    // As the edge does it: a call that was lost may have begun a turn.
    const answer = await ask(false).catch((thrown: unknown) => {
      if ((thrown as { overloaded?: unknown }).overloaded === true) throw thrown;
      return ask(true);
    });
    if (answer.kind !== 'error' && answer.kind !== 'whole') this.#heard.acknowledged?.add(question);
    await this.#hear(answer);
  }

  async #hear(answer: TurnAnswer): Promise<void> {
    if (answer.kind === 'error') this.#heard.lastError = JSON.stringify(answer.error);
    if (answer.kind === 'whole' || answer.kind === 'error') return;
    const listener = this.#heard.listener(answer.turn);
    if (answer.kind === 'ended') listener.take(answer.events);
    else await this.#follow(listener, answer.body, answer.first);
  }

  /** Follows a turn; where the object dies, whoever listens comes back. */
  async #follow(listener: Listener, body: ReadableStream<Uint8Array>, first = ''): Promise<void> {
    listener.take(first);
    const whole = await listen(this.#world, this.#conversation, listener, body);
    if (whole || listener.isOver) return;
    listener.wasBroken = true;
    await this.resume(listener);
  }

  /** Hears what is to come of a turn; without a listener, of the one that runs. */
  async resume(listener: Listener | undefined): Promise<void> {
    const after = listener && `${listener.turn}-${listener.last}`;
    const resumed = (await this.call('resume', after)) as Resumed;
    if (resumed.kind === 'stream') {
      await this.#follow(listener ?? this.#heard.listener(resumed.turn), resumed.body);
    } else if (listener) {
      // What was rewound, or has lost its log, is heard no more.
      listener.wasBroken = true;
    }
  }
}
