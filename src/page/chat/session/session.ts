import type { MessageParam } from '@anthropic-ai/sdk/resources/messages';
import { computed, signal } from '@preact/signals';
import {
  type Approval,
  type ApprovalDecision,
  type Conversation,
  type ConversationMessage,
  type ConversationPatch,
  type ConversationRow,
  type ConversationTurn,
  type MessageStream,
  SluiceError,
  type StreamOptions,
} from '../../../client/index.ts';
import { inPath } from '../../../client/transport.ts';
import type { ServedPath } from '../../../edge/answers.ts';
import { refreshSpent } from '../../edge/account.ts';
import { edge } from '../../edge/client.ts';
import { model } from '../../edge/models.ts';
import { announce } from '../../ui/announcer.tsx';
import { type Branch, branchIn, branchMetadata, choicesIn, originOf } from './branches.ts';
import { type Content, type Part, partsOf, readHistory } from './content.ts';
import { exactJson } from './exact-json.ts';
import { maxTokens, thinking } from './options.ts';
import { type Failure, ignoreDeleted, isSilent, type Live } from './outcomes.ts';
import { summariesByMessage } from './summaries.ts';
import { thinkingMembers } from './thinking.ts';
import { Thoughts } from './thoughts.ts';
import { callsOurTools, offeredTools, toolResults } from './tools.ts';

/** So often a question is tried to be sent, within half a second; then it counts as not sent. */
const MOST_TRIES = 3;
/** The newest answers without text that are told of: each is a request. */
const MOST_SILENT = 20;

/** Keeps one conversation while it is shown: its history, and the answer that comes. */
export class Session {
  readonly id: string;
  readonly report = signal<Conversation | undefined>(undefined);
  readonly rows = signal<ConversationMessage[]>([]);
  readonly live = signal<Live | undefined>(undefined);
  /** Counts up when the answer has grown, at most once a frame. */
  readonly grown = signal(0);
  readonly failure = signal<Failure | undefined>(undefined);
  /** What the edge tells of the runs that are shown, by the ids of their turns. */
  readonly runs = signal<ReadonlyMap<string, ConversationTurn>>(new Map());
  /** When a lost connection is tried again, in milliseconds since 1970; undefined while there is one. */
  readonly reconnectsAt = signal<number | undefined>(undefined);
  readonly thoughts = new Thoughts();
  /** The calls that wait for a decision. */
  readonly approvals = signal<readonly Approval[]>([]);
  /** Whether the edge has begun to answer the last question. Until then nobody knows whether it has it. */
  readonly arrived = signal(false);
  /** Whether a person must decide on calls before anything else can be asked. */
  readonly waits = computed(() => this.rows.value.at(-1)?.paused === 'approval');
  /** Whether there is no such conversation. */
  readonly missing = signal(false);
  /** Whether the history is loaded, and the running turn is known. */
  readonly loaded = signal(false);
  /** This conversation and its copies, where there are any. */
  readonly branches = signal<readonly Branch[]>([]);
  readonly choices = computed(() => choicesIn(this.branches.value, this.id, this.rows.value));
  /** The summaries of the history, by the ids of the messages behind which they stand. */
  readonly summaries = computed(() => summariesByMessage(this.report.value));
  /** The turns that this page saw go up without the oldest ones, and without a summary of them: the history does not tell. */
  readonly truncated = new Set<string>();
  readonly #branching = signal(false);
  /** The turns without a text whose reports were read after their end. */
  readonly #reported = new Set<string>();
  /** Whether no question can be asked now. */
  readonly busy = computed(() => !this.loaded.value || this.#branching.value || this.live.value !== undefined);
  readonly #listening: StreamOptions = {
    onConnection: (state, retryAt) => {
      this.reconnectsAt.value = retryAt?.getTime();
      if (state === 'open') this.arrived.value = true;
      if (this.arrived.value) return;
      this.#tries += 1;
      // Nothing of it has come to the edge: who asks decides when it is sent again.
      if (this.#tries >= MOST_TRIES || navigator.onLine === false) this.live.value?.stream.close();
    },
  };
  readonly #onChange: () => Promise<void>;
  /** What the list has said of the conversation last; undefined after a change of its own. */
  #listed: ConversationRow | undefined;
  #left = false;
  #frame = 0;
  /** How often the question on its way was tried to be sent. */
  #tries = 0;

  /** @param onChange called whenever a turn has begun, and when it has ended and is settled */
  constructor(id: string, onChange: () => Promise<void>) {
    this.id = id;
    this.#onChange = onChange;
  }

  /** Reads the history, and follows the running turn, if there is one. */
  async open(): Promise<void> {
    try {
      const { state } = await this.#readReport();
      const running = await this.#readRows();
      if (state === 'running') await this.#resume(running);
    } catch (thrown) {
      this.missing.value = thrown instanceof SluiceError && thrown.type === 'not_found_error';
      this.fail(thrown);
    } finally {
      this.loaded.value = true;
    }
  }

  /** Reads again what another window has changed. @param row the conversation in the list */
  async catchUp(row: ConversationRow): Promise<void> {
    if (this.busy.value || this.failure.value) return;
    const listed = this.#listed;
    this.#listed = row;
    if (row.state === 'running' || (listed && listed.updated_at !== row.updated_at)) await this.open();
    // A summary is made behind an answer, and changes only what the conversation has cost.
    else if (listed?.cost_usd !== row.cost_usd && this.report.value?.history?.strategy === 'summarize')
      await this.#readReport();
  }

  /** Tries again what has failed. A question that has arrived all the same is not asked twice. */
  async retry(): Promise<void> {
    const failed = this.failure.value;
    const before = this.rows.value.length;
    await this.open();
    // It was followed, or has failed again.
    if (this.failure.value !== failed) return;
    this.failure.value = undefined;
    const rows = this.rows.value;
    const unanswered = rows.at(-1)?.content.length === 0 ? rows.findLast(({ role }) => role === 'user') : undefined;
    const question = failed?.question ?? unanswered?.content;
    if (question !== undefined && rows.length === before) await this.send(question);
  }

  /** Asks a question, and shows the answer while it comes: of `most` tokens. Tools of the page run in between. */
  async send(content: Content, most?: number): Promise<void> {
    for (let next: Content | undefined = content; next !== undefined && !this.#left; ) {
      this.failure.value = undefined;
      next = await this.#turn(next, most);
    }
  }

  /** Lets a paused answer go on. */
  async goOn(): Promise<void> {
    const last = this.rows.value.at(-1);
    if (last?.role !== 'assistant') return;
    this.failure.value = undefined;
    const stream = this.#stream([{ role: 'assistant', content: last.content } as MessageParam]);
    const next = await this.#follow({ question: undefined, stream, resumed: false });
    if (next !== undefined) await this.send(next);
  }

  async readApprovals(): Promise<void> {
    const { data } = await edge().conversations.approvals(this.id);
    if (!this.#left) this.approvals.value = data.filter(({ decision }) => decision === null);
  }

  /** Decides on a call. Once all are decided the run goes on, and is followed. @throws SluiceError in the edge's words */
  async decide(approval: string, decision: ApprovalDecision): Promise<void> {
    const { type } = await edge().conversations.approve(this.id, approval, decision);
    if (type === 'turn') void this.open();
    else await this.readApprovals();
  }

  /** Reads what a run did so far, where it is not known, or may have changed. */
  async readRun(turn: string): Promise<void> {
    const path: ServedPath = `/conversations/${inPath(this.id)}/turns/${inPath(turn)}`;
    const response = await edge().fetch(path).catch(ignoreDeleted);
    const run = response && exactJson(await response.text());
    if (run && !this.#left) this.runs.value = new Map(this.runs.peek()).set(turn, run as ConversationTurn);
  }

  /**
   * Copies the conversation up to before a message of the user.
   *
   * @param id the id of the copy; without one the edge makes one
   * @returns the copy, which is not shown yet
   */
  async branch(before: string, id: string | undefined): Promise<Session> {
    this.#branching.value = true;
    const { conversations } = edge();
    const rows = this.rows.value.slice(
      0,
      this.rows.value.findIndex((row) => row.id === before),
    );
    try {
      const copy = await conversations.fork(this.id, { at: before, ...(id === undefined ? {} : { id }) });
      await conversations.rewind(copy.id, before);
      const all = this.branches.value.length > 0 ? this.branches.value : [branchIn({ id: this.id, metadata: null })];
      const origin = originOf(this.id, all, this.rows.value, rows.length);
      const metadata = branchMetadata(copy.metadata, origin) as ConversationPatch['metadata'];
      const created = new Session(copy.id, this.#onChange);
      created.report.value = await conversations.update(copy.id, { metadata });
      created.rows.value = rows;
      created.branches.value = [...all, { ...origin, id: copy.id }];
      created.loaded.value = true;
      return created;
    } finally {
      this.#branching.value = false;
    }
  }

  /** Reads from which conversations this one, and the others of its family, were copied. @param ids of the family */
  async readBranches(ids: readonly string[]): Promise<void> {
    if (ids.length < 2) return;
    const reports = await Promise.all(ids.map((id) => edge().conversations.get(id).catch(ignoreDeleted)));
    this.branches.value = reports.flatMap((report) => report ?? []).map(branchIn);
  }

  async stop(): Promise<void> {
    await this.live.value?.stream.stop().catch((thrown: unknown) => this.fail(thrown));
  }

  /** Stops listening. A running turn goes on. */
  leave(): void {
    this.#left = true;
    cancelAnimationFrame(this.#frame);
    this.live.value?.stream.close();
  }

  async #turn(content: Content, most?: number): Promise<Content | undefined> {
    const question = this.#withResults(content);
    const stream = this.#stream([{ role: 'user', content: question } as MessageParam], most);
    return await this.#follow({ question, stream, resumed: false });
  }

  /** The model to ask: without a list of models that of the last answer, else the conversation's own. */
  get model(): string | undefined {
    return model.value?.id ?? this.rows.value.findLast((row) => row.model)?.model ?? undefined;
  }

  #stream(messages: MessageParam[], most = maxTokens.value): MessageStream {
    const offered = offeredTools(!!this.report.value?.agent);
    this.arrived.value = false;
    this.#tries = 0;
    return edge().messages.stream(
      {
        conversation: this.id,
        ...(this.model === undefined ? {} : { model: this.model }),
        ...thinkingMembers(thinking.value, model.value, most),
        messages,
        ...(offered.length > 0 ? { tools: offered } : {}),
      },
      this.#listening,
    );
  }

  /** Finds calls without results, because the page was closed in between. Their results go with the next question. */
  #withResults(content: Content): Content {
    const last = this.rows.value.at(-1);
    if (last?.role !== 'assistant' || partsOf(content).some(({ type }) => type === 'tool_result')) return content;
    const results = toolResults(partsOf(last.content)) as object[] as Part[];
    return results.length === 0 ? content : [...results, ...partsOf(content)];
  }

  async #resume(question: Content | undefined): Promise<void> {
    const stream = await edge().conversations.resume(this.id, this.#listening);
    // It has ended meanwhile.
    if (!stream) {
      await this.#readRows();
      return;
    }
    this.failure.value = undefined;
    this.arrived.value = true;
    const next = await this.#follow({ question, stream, resumed: true });
    if (next !== undefined) await this.send(next);
  }

  /** @returns the results of the tools that were called, which are sent next */
  async #follow(live: Live): Promise<Content | undefined> {
    this.live.value = live;
    this.loaded.value = true;
    let error: unknown;
    try {
      for await (const event of live.stream) {
        if (event.type === 'message_start') this.#begin(live.stream);
        if (!live.resumed) this.thoughts.take(live.stream.turn, event);
        this.#paint();
      }
    } catch (thrown) {
      error = thrown;
    }
    if (this.#left) return undefined;
    if (!this.arrived.value && this.#tries > 0)
      error ??= new SluiceError('connection_error', 'There was no connection to the edge.');
    const { message } = live.stream;
    const before = this.rows.value.length;
    await this.#readRows().catch((thrown: unknown) => {
      error ??= thrown;
    });
    this.live.value = undefined;
    this.reconnectsAt.value = undefined;
    // What was asked is in the history if anything came of it. What was refused is not, whatever another window has added.
    const refused = error instanceof SluiceError && (error.status ?? 500) < 500 && !this.arrived.value;
    const isKept = !refused && this.rows.value.length > before;
    if (error !== undefined) this.fail(error, isKept ? undefined : live.question, live.stream.lost !== undefined);
    else announce(live.stream.stopped ? 'Stopped.' : 'The answer is complete.');
    this.#tell();
    if (error !== undefined || live.stream.stopped || message?.stop_reason !== 'tool_use') return undefined;
    return callsOurTools(message.content) ? (toolResults(message.content) as object[] as Content) : undefined;
  }

  #begin({ headers, turn }: MessageStream): void {
    if (turn !== undefined && headers?.get('sluice-history') === 'truncated') this.truncated.add(turn);
    this.#tell();
  }

  #tell(): void {
    this.#listed = undefined;
    void Promise.all([this.#onChange(), refreshSpent()]).catch((thrown: unknown) => {
      // What has failed before it says more.
      if (!this.failure.value) this.fail(thrown);
    });
  }

  #paint(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      this.grown.value += 1;
    });
  }

  async #readReport(): Promise<Conversation> {
    const report = await edge().conversations.get(this.id);
    this.report.value = report;
    return report;
  }

  /** @returns the question of the running turn, which is shown after the history, with its answer */
  async #readRows(): Promise<Content | undefined> {
    const rows = await readHistory(edge(), this.id, { pending: true, view: 'shown' }, () => !this.#left);
    const running = rows.at(-1)?.status === 'running' ? rows.pop()?.content : undefined;
    // Before the rows are shown, so that an answer without text comes with them. Where a report fails they come without it.
    const silent = rows.filter(({ turn }, index) => isSilent(rows, index) && !this.#reported.has(turn));
    await Promise.allSettled(
      silent.slice(-MOST_SILENT).map(async ({ turn }) => {
        await this.readRun(turn);
        this.#reported.add(turn);
      }),
    );
    this.rows.value = rows;
    return running;
  }

  /** Shows an error. @param question the question that got no answer; one that is shown as such stays */
  fail(thrown: unknown, question = this.failure.value?.question, isCut = false): void {
    if (this.#left) return;
    const error =
      thrown instanceof SluiceError ? thrown : new SluiceError('api_error', String(thrown), { cause: thrown });
    this.failure.value = { question, error, at: Date.now(), arrived: this.arrived.value, isCut };
  }
}
