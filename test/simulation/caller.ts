/** Whoever calls a conversation's object as the edge does: asks, follows what is answered, and comes back when that breaks off. */

import type { TurnRequest, TurnResumeResult } from '#edge/conversations/object/contract.ts';
import { unpackTurnAnswer } from '#edge/conversations/object/rpc-response.ts';
import type { PackedTurnAnswer, TurnAnswer } from '#edge/conversations/views/turn-answer.ts';
import type { Host } from './host.ts';
import { type Listener, readToListener } from './listener.ts';
import type { World } from './world.ts';

/** The account whose conversation is called, and its id. */
export const ACCOUNT = 'alice';
export const CONVERSATION_ID = 'c1';

/** Where callers note what they hear. */
interface CallerObserver {
  /** What the last turn that was not begun was told. */
  lastError: string | undefined;
  getListener(turn: string): Listener;
  /** The questions of those who were told that their turn has begun. */
  readonly acknowledged?: Set<string>;
}

/** Members of a Messages body besides the question. */
interface QuestionOptions {
  key?: string | undefined;
  stream: boolean;
  tools?: unknown;
}

export class Caller {
  readonly #world: World;
  readonly #conversation: Host;
  readonly #observer: CallerObserver;
  readonly #shouldRepeatCall: (method: string) => boolean;
  /** How many requests were made. */
  requestCount = 0;

  /** @param comesTwice whether a call of a method may be doubled on its way */
  constructor(world: World, conversation: Host, heard: CallerObserver, comesTwice: (method: string) => boolean) {
    this.#world = world;
    this.#conversation = conversation;
    this.#observer = heard;
    this.#shouldRepeatCall = comesTwice;
  }

  newId(): string {
    this.requestCount += 1;
    return `req_${String(this.requestCount).padStart(24, '0')}`;
  }

  async call(method: string, ...args: unknown[]): Promise<unknown> {
    return await this.#world.call(this.#conversation, method, args, this.#shouldRepeatCall(method));
  }

  /** Asks a question, and hears the answer to its end. */
  async ask(question: string, { key, stream, tools }: QuestionOptions): Promise<void> {
    const messages = [{ role: 'user', content: question }];
    const body = JSON.stringify({ model: 'claude-opus-5-5', max_tokens: 16_384, stream, tools, messages });
    const request: Omit<TurnRequest, 'body'> = {
      conversationKey: { account: ACCOUNT, id: CONVERSATION_ID },
      call: { id: this.newId(), route: 'messages', hash: body, key, isClientRetry: false, isResent: false, stream },
      caller: { account: ACCOUNT, scopes: ['messages'], token: undefined },
      edgeOptions: {},
      headers: { 'content-type': 'application/json' },
      query: '',
    };
    const sendTurn = async (isRepeat: boolean) =>
      unpackTurnAnswer(
        (await this.call(
          'handleTurn',
          JSON.stringify({ ...request, call: { ...request.call, isResent: isRepeat } }),
          body,
        )) as PackedTurnAnswer,
      );
    // As the edge does it: a call that was lost may have begun a turn.
    const answer = await sendTurn(false).catch((thrown: unknown) => {
      if ((thrown as { overloaded?: unknown }).overloaded === true) throw thrown;
      return sendTurn(true);
    });
    if (answer.kind !== 'error' && answer.kind !== 'response') this.#observer.acknowledged?.add(question);
    await this.#readAnswer(answer);
  }

  async #readAnswer(answer: TurnAnswer): Promise<void> {
    if (answer.kind === 'error') this.#observer.lastError = JSON.stringify(answer.error);
    if (answer.kind === 'response' || answer.kind === 'error') return;
    const listener = this.#observer.getListener(answer.turn);
    if (answer.kind === 'complete_stream') listener.handlePiece(answer.events);
    else await this.#followTurn(listener, answer.body, answer.first);
  }

  /** Follows a turn; where the object dies, whoever listens comes back. */
  async #followTurn(listener: Listener, body: ReadableStream<Uint8Array>, first = ''): Promise<void> {
    listener.handlePiece(first);
    const whole = await readToListener(this.#world, this.#conversation, listener, body);
    if (whole || listener.isOver) return;
    listener.wasBroken = true;
    await this.resumeTurn(listener);
  }

  /** Hears what is to come of a turn; without a listener, of the one that runs. */
  async resumeTurn(listener: Listener | undefined): Promise<void> {
    const after = listener && `${listener.turn}-${listener.lastNumber}`;
    const resumed = (await this.call('resumeTurnStream', after)) as TurnResumeResult;
    if (resumed.kind === 'stream') {
      await this.#followTurn(listener ?? this.#observer.getListener(resumed.turn), resumed.body);
    } else if (listener) {
      // What was rewound, or has lost its log, is heard no more.
      listener.wasBroken = true;
    }
  }
}
