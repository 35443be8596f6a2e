/** The world that a run with approvals acts on: an API that calls tools, and tools that pay and look. */
import type Anthropic from '@anthropic-ai/sdk';
import * as z from 'zod';
import { registerWorkerTools } from '#edge/plugins/runs/tools/worker-tools.ts';
import { callingHost, type Host, InvariantViolation } from './host.ts';
import type { Script } from './upstream.ts';
import type { World } from './world.ts';

/** What comes of a call. */
export const OUTCOMES = ['done', 'done', 'failed', 'silent'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** Tools as a request names them: two that a person is asked about, one of them made once at most, and one that is just made. */
export const TOOLS = [
  { name: 'pay', run: { worker: true, approval: 'always' } },
  { name: 'remind', run: { worker: true, approval: { over: { field: 'amount', above: 10 } } } },
  { name: 'look', run: { worker: true } },
];

/** Tools that a crash must not have made twice. */
export const ONCE_ONLY_TOOLS: ReadonlySet<string> = new Set(['pay']);
export const PAID_RESULT = 'It was done.';

/** A call that has arrived where it does something. */
export interface ExecutedCall {
  id: string;
  name: string;
  input: unknown;
}

/** The tools of the world that runs now. */
export class SimulatedTools {
  readonly made: ExecutedCall[] = [];
  readonly #world: World;
  readonly #outcomes: readonly Outcome[];
  #callCount = 0;
  /** Looks at each call as it arrives. */
  readonly #onExecuted: (made: ExecutedCall) => void;

  constructor(world: World, outcomes: readonly Outcome[], onMade: (made: ExecutedCall) => void) {
    this.#world = world;
    this.#outcomes = outcomes;
    this.#onExecuted = onMade;
    open = this;
  }

  /** Takes a call to where it does something, once what its object has written is stored. */
  execute(call: ExecutedCall): Promise<string> {
    const outcome = this.#world.isFreeOfMishaps ? 'done' : (this.#outcomes[this.#callCount] ?? 'done');
    this.#callCount += 1;
    const host = callingHost();
    return new Promise((resolve, reject) => {
      host?.sendAfterCommit(() => void this.#applyOutcome(call, outcome, resolve, reject));
    });
  }

  async #applyOutcome(
    call: ExecutedCall,
    outcome: Outcome,
    resolve: (text: string) => void,
    reject: (thrown: Error) => void,
  ) {
    await this.#world.hop(`${call.name} ${call.id} (${outcome})`);
    this.made.push(call);
    try {
      this.#onExecuted(call);
    } catch (thrown) {
      if (!(thrown instanceof InvariantViolation)) throw thrown;
      this.#world.fail(thrown.message);
    }
    if (outcome === 'silent') return;
    await this.#world.hop(`${call.name} ${call.id} is ${outcome}`);
    if (outcome === 'done') resolve(PAID_RESULT);
    else reject(new Error('There is no money.'));
  }

  /** @returns how often a call was made. */
  countExecutions(id: string): number {
    return this.made.filter((one) => one.id === id).length;
  }
}

let open: SimulatedTools | undefined;

const input = z.object({ amount: z.number() });
const createTool = (name: string) => ({
  description: `Does ${name}.`,
  schema: input,
  once: ONCE_ONLY_TOOLS.has(name),
  run: (given: z.infer<typeof input>, { tool_use_id: id }: { tool_use_id: string }) =>
    open?.execute({ id, name, input: given }),
});
registerWorkerTools({ tools: { pay: createTool('pay'), remind: createTool('remind'), look: createTool('look') } });

/** Questions that have tools called, by their words. */
const CALLS_BY_QUESTION: Readonly<Record<string, readonly { name: string; input: object }[]>> = {
  pay: [{ name: 'pay', input: { amount: 500 } }],
  'pay and look': [
    { name: 'look', input: { amount: 1 } },
    { name: 'pay', input: { amount: 500 } },
  ],
  'pay twice': [
    { name: 'pay', input: { amount: 500 } },
    { name: 'pay', input: { amount: 700 } },
  ],
  remind: [
    { name: 'remind', input: { amount: 20 } },
    { name: 'remind', input: { amount: 5 } },
  ],
};
export const PAYMENTS = Object.keys(CALLS_BY_QUESTION);

/** An API that calls tools where the newest text of a user asks for them, and that says so once it has results. */
export const callToolsScript: Script = (messages, number) => {
  const asked = questionTextOf(messages.at(-1));
  const calls = (CALLS_BY_QUESTION[asked] ?? []).map((call, at) => ({ ...call, id: `toolu_${number}_${at}` }));
  return { words: [`${asked || 'Done'}:`, ' one', ' two'], calls };
};

/** @returns the text of a question; empty where a message has results alone */
function questionTextOf(message: Anthropic.MessageParam | undefined): string {
  const { content = '' } = message ?? {};
  if (typeof content === 'string') return content;
  return content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');
}

/** @returns the rows of a table of an object; none where it has no such table */
export function readRows(host: Host, table: string, query: string, ...bindings: (string | number)[]) {
  return host.storage.hasTable(table) ? host.storage.exec(query, bindings).toArray() : [];
}
