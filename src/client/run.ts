import type { Message, Tool, ToolResultBlockParam, ToolUseBlock } from '@anthropic-ai/sdk/resources/messages';
import { SluiceError } from './errors.ts';
import type { MessageRequest, RequestMessage, TypedRequestFields } from './requests.ts';
import { SdkStyleStreamReader } from './sdk-reader.ts';
import type { MessageStream, MessageStreamOptions } from './stream.ts';

type Awaitable<T> = T | Promise<T>;

/** Answers the calls of a tool by its name, where the client runs. The tool's definition is the agent's. */
export interface ToolHandler {
  name: string;
  /**
   * Runs the tool. If it throws, the model gets the message as the call's error; the caller does not.
   *
   * @param input as the model gives it. It has the shape of `input_schema`, unless the model has made a mistake
   */
  run(input: unknown, call: ToolUseBlock): Awaitable<ToolResultBlockParam['content']>;
}

/** A tool that runs where the client runs. */
export interface RunnableTool extends Tool, ToolHandler {
  name: string;
}

type ToolDefinitions = NonNullable<TypedRequestFields['tools']>;

interface RunOptions extends Omit<TypedRequestFields, 'tools' | 'agent'> {
  /**
   * The most requests (10). The last one forbids tool calls, so that a run ends with an answer. With an agent, which decides
   * that itself, a run may end with calls: their results are `owed`.
   */
  max_turns?: number;
  /**
   * Decides whether to continue an answer that was paused because the edge's calls reached a limit. The limit then counts from
   * zero. Default: the run ends.
   *
   * @param reason the name of the limit, such as `max_usd`
   */
  goesOn?(reason: string, run: Run): Awaitable<boolean>;
}

/** A run whose request defines its tools. */
interface RunWithTools extends RunOptions {
  agent?: never;
  /** Tools that run here, tools that the edge calls, and tools that the API serves. */
  tools: (RunnableTool | ToolDefinitions[number])[];
}

/** A run of a stored agent, which defines its tools: none are sent, so a restricted token may begin it. */
interface AgentRunRequest extends RunOptions {
  agent: string;
  /** Handlers of the agent's tools that have no `run`. */
  tools: ToolHandler[];
}

export type RunRequest = RunWithTools | AgentRunRequest;

/** One request of a run, and the results of its tools. */
export interface RunStep {
  message: Message;
  results: ToolResultBlockParam[];
  /** The cost in US dollars; undefined if the edge did not say. */
  costUsd: number | undefined;
  /** The turn's id, in a conversation. */
  turn: string | undefined;
}

/**
 * Runs several turns with tools between them, and gives the events of all turns one after the other.
 *
 * @example
 * const weather = { name: 'get_weather', input_schema: { type: 'object' as const }, run: () => 'It is sunny.' };
 * const run = sluice.messages.run({ model, max_tokens: 4_096, messages, tools: [weather] });
 * for await (const text of run.textDeltas()) show(text);
 * show(run.costUsd, run.steps.length);
 */
export class Run extends SdkStyleStreamReader {
  /** The turns that have ended. */
  readonly steps: RunStep[] = [];
  readonly #startTurn: (request: MessageRequest) => MessageStream;
  #stream: MessageStream | undefined;
  #isOver = false;
  #unsentResults: ToolResultBlockParam[] = [];

  constructor(
    begin: (request: MessageRequest) => MessageStream,
    request: RunRequest,
    options: MessageStreamOptions = {},
  ) {
    super();
    this.#startTurn = begin;
    const forget = this.closeOnAbort(options.signal);
    void this.#runToolLoop(request)
      .then(
        () => this.feed.endFeed(),
        (error: unknown) => this.feed.endFeed(error),
      )
      .finally(forget);
  }

  override get [Symbol.toStringTag](): string {
    return 'Run';
  }

  /** The cost of all turns that have ended, in US dollars. */
  get costUsd(): number {
    return this.steps.reduce((sum, { costUsd = 0 }) => sum + Math.round(costUsd * 1e9), 0) / 1e9;
  }

  /**
   * Results that were not sent, because the run was stopped or closed while its tools ran. They must be the first part of the
   * conversation's next message, which is rejected without them.
   */
  get owed(): ToolResultBlockParam[] {
    return this.#unsentResults;
  }

  protected override lastMessage(): Message {
    const last = this.steps.at(-1);
    if (!last) throw new SluiceError('closed', 'The run was closed before its first response ended.');
    return last.message;
  }

  /** Stops listening, and starts no other turn. @example run.close(); */
  override close(): void {
    this.#isOver = true;
    this.#stream?.close();
  }

  /** Stops the running turn, and starts no other one. The last step has the results of its tools. @example await run.stop(); */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#stream?.stop();
  }

  async #runToolLoop({ tools, max_turns = 10, messages: question, goesOn, ...rest }: RunRequest): Promise<void> {
    // The edge must not receive the functions, so set `run` to undefined, which `JSON.stringify` omits and the type
    // of a definition does not have.
    const definitions = (rest.agent === undefined
      ? tools.map((tool) => (isRunnable(tool) ? { ...tool, run: undefined } : tool))
      : []) as unknown as ToolDefinitions;
    const defined = definitions.length > 0 ? { tools: definitions } : {};
    let messages = question;
    for (let turn = 1; !this.#isOver; turn += 1) {
      const last = turn >= max_turns && definitions.length > 0 ? { tool_choice: { type: 'none' as const } } : {};
      const stream = this.#startTurn({ ...rest, ...last, ...defined, messages });
      this.#stream = stream;
      for await (const event of stream) {
        this.#unsentResults = [];
        this.feed.pushItem(event);
      }
      // A stopped response has no reason, and is a step nevertheless.
      if (stream.message === undefined || (stream.message.stop_reason === null && !stream.stopped)) return;
      const message = await stream.finalMessage();
      const step: RunStep = { message, results: [], costUsd: stream.costUsd, turn: stream.turn };
      this.steps.push(step);
      const answer: RequestMessage = { role: 'assistant', content: message.content };
      if (message.stop_reason === 'tool_use') {
        const calls = message.content.filter((block) => block.type === 'tool_use');
        step.results = await Promise.all(calls.map((call) => runToolCall(tools, call)));
      } else if (stream.paused === undefined) return;
      this.#unsentResults = step.results;
      if (stream.paused !== undefined && !(await goesOn?.(stream.paused, this))) return;
      if (turn >= max_turns) return;
      const next: RequestMessage[] = step.results.length > 0 ? [{ role: 'user', content: step.results }] : [];
      // A conversation stores its history. Without one, send the history. To continue a paused run, send its answer again.
      if (rest.conversation === undefined) messages = [...messages, answer, ...next];
      else messages = next.length > 0 ? next : [answer];
    }
  }
}

function isRunnable(tool: RunRequest['tools'][number]): tool is RunnableTool | ToolHandler {
  return 'run' in tool && typeof tool.run === 'function';
}

async function runToolCall(tools: RunRequest['tools'], call: ToolUseBlock): Promise<ToolResultBlockParam> {
  const result: ToolResultBlockParam = { type: 'tool_result', tool_use_id: call.id };
  const tool = tools.find((one) => 'name' in one && one.name === call.name);
  try {
    if (!tool || !isRunnable(tool)) throw new Error(`There is no tool ${call.name}.`);
    const content = await tool.run(call.input, call);
    return content === undefined ? result : { ...result, content };
  } catch (thrown) {
    return { ...result, content: thrown instanceof Error ? thrown.message : String(thrown), is_error: true };
  }
}
