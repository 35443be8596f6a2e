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
  type MessageStreamOptions,
  SluiceError,
} from '../../../client/index.ts';
import { encodePathSegment } from '../../../client/transport.ts';
import type { ServedRoutePath } from '../../../edge/answers.ts';
import { refreshSpentToday } from '../../edge/account.ts';
import { getClient } from '../../edge/client.ts';
import { isRestricted } from '../../edge/identity.ts';
import { currentModel } from '../../edge/models.ts';
import { announceToScreenReader } from '../../ui/announcer.tsx';
import { loadMarkdown } from '../../ui/markdown/markdown.tsx';
import { canReadApprovals } from './approvals.ts';
import {
  type ConversationBranch,
  createBranchMetadata,
  findBranchOrigin,
  mapBranchesByMessageIndex,
  parseConversationBranch,
} from './branches.ts';
import { type ContentPart, type MessageContent, readAllMessages, toContentParts } from './content.ts';
import { parseJsonPreservingNumbers } from './exact-json.ts';
import { maxTokens, thinkingChoice } from './options.ts';
import {
  ignoreNotFoundError,
  isRefusedWithoutText,
  isTurnWithoutText,
  type QuestionFailure,
  type StreamingAnswer,
} from './outcomes.ts';
import { mapSummariesByMessage } from './summaries.ts';
import { createThinkingRequestFields } from './thinking.ts';
import { ThinkingTimeRecorder } from './thinking-times.ts';
import { hasOnlyPageToolCalls, listToolsForNextQuestion, runPageTools } from './tools.ts';

/** The number of attempts to send a question, within half a second. After that it counts as not sent. */
const MAX_SEND_ATTEMPTS = 3;
/** The number of newest answers without text that are explained. Each takes a request. */
const MAX_SILENT_REPORTS = 20;

/** Keeps the state of one displayed conversation: its history, and the running answer. */
export class Session {
  readonly id: string;
  readonly report = signal<Conversation | undefined>(undefined);
  readonly rows = signal<ConversationMessage[]>([]);
  readonly liveAnswer = signal<StreamingAnswer | undefined>(undefined);
  /** Counts up when the answer has grown, at most once a frame. */
  readonly growthCount = signal(0);
  readonly failure = signal<QuestionFailure | undefined>(undefined);
  /** The edge's reports about the displayed runs, by the ids of their turns. */
  readonly runReports = signal<ReadonlyMap<string, ConversationTurn>>(new Map());
  /** When a lost connection is tried again, in milliseconds since 1970; undefined while there is one. */
  readonly reconnectsAt = signal<number | undefined>(undefined);
  readonly thoughts = new ThinkingTimeRecorder();
  /** The calls that wait for a decision. */
  readonly approvals = signal<readonly Approval[]>([]);
  /** Whether the edge has begun to answer the last question. Until then it is unknown whether the edge has received it. */
  readonly hasArrived = signal(false);
  /** Whether a person must decide on calls before anything else can be asked. */
  readonly isWaitingForApproval = computed(() => this.rows.value.at(-1)?.paused === 'approval');
  /** Whether there is no such conversation. */
  readonly isMissing = signal(false);
  /** Whether the history is loaded, and the running turn is known. */
  readonly isLoaded = signal(false);
  /** This conversation and its copies, where there are any. */
  readonly branches = signal<readonly ConversationBranch[]>([]);
  readonly choices = computed(() => mapBranchesByMessageIndex(this.branches.value, this.id, this.rows.value));
  /** The summaries of the history, by the ids of the messages after which they are shown. */
  readonly summaries = computed(() => mapSummariesByMessage(this.report.value));
  /**
   * The turns that were sent without the oldest ones and without a summary of them, as this page saw. The history does not
   * contain that.
   */
  readonly truncatedTurns = signal<ReadonlySet<string>>(new Set());
  readonly #isBranching = signal(false);
  /** The turns without a text whose reports were read after their end. */
  readonly #reportedTurns = new Set<string>();
  /** Whether no question can be asked now. */
  readonly isBusy = computed(
    () => !this.isLoaded.value || this.#isBranching.value || this.liveAnswer.value !== undefined,
  );
  /** Whether the history is loaded, and no turn is running as far as this page knows. */
  readonly isIdle = computed(
    () => this.isLoaded.value && this.liveAnswer.value === undefined && this.failure.value === undefined,
  );
  readonly turnCount = computed(() => new Set(this.rows.value.map(({ turn }) => turn)).size);
  readonly #streamOptions: MessageStreamOptions = {
    onConnection: (state, retryAt) => {
      this.reconnectsAt.value = retryAt?.getTime();
      if (state === 'open') this.hasArrived.value = true;
      if (this.hasArrived.value) return;
      this.#sendAttempts += 1;
      // The request has not reached the edge after several attempts, so stop retrying. The user decides when to send it again.
      if (this.#sendAttempts >= MAX_SEND_ATTEMPTS || navigator.onLine === false) this.liveAnswer.value?.stream.close();
    },
  };
  readonly #onChange: () => Promise<void>;
  /** The last row of the list for this conversation; undefined after a change by this session. */
  #lastListedRow: ConversationRow | undefined;
  #hasLeft = false;
  #frame = 0;
  /** How often the question on its way was tried to be sent. */
  #sendAttempts = 0;

  /** @param onChange called whenever a turn has begun, and when it has ended and is settled */
  constructor(id: string, onChange: () => Promise<void>) {
    this.id = id;
    this.#onChange = onChange;
  }

  /** Reads the history, and follows the running turn, if there is one. */
  async loadAndFollow(): Promise<void> {
    try {
      // GET /conversations/:id. Restricted tokens read only the messages, which end with the question of a running turn.
      const readState = async () => (isRestricted() ? undefined : (await this.#readConversationReport()).state);
      // Messages appear once they can be shown as Markdown, so that nothing moves afterwards.
      const [state] = await Promise.all([readState(), loadMarkdown()]);
      const running = await this.#readMessageRows();
      if (state === 'running' || (state === undefined && running !== undefined)) await this.#resumeRunningTurn(running);
    } catch (thrown) {
      this.isMissing.value = thrown instanceof SluiceError && thrown.type === 'not_found_error';
      this.showFailure(thrown);
    } finally {
      this.isLoaded.value = true;
    }
  }

  /** Reads again what another window has changed. @param row the conversation in the list */
  async syncWithListRow(row: ConversationRow): Promise<void> {
    if (this.isBusy.value || this.failure.value) return;
    const listed = this.#lastListedRow;
    this.#lastListedRow = row;
    if (row.state === 'running' || (listed && listed.updated_at !== row.updated_at)) await this.loadAndFollow();
    // A summary of the history is created after an answer and changes only the conversation's cost. Read the cost again then.
    else if (listed?.cost_usd !== row.cost_usd && this.report.value?.history?.strategy === 'summarize')
      await this.#readConversationReport();
  }

  /** Tries again what has failed. A question that has arrived anyway is not sent twice. */
  async retryFailedQuestion(): Promise<void> {
    const failed = this.failure.value;
    const before = this.rows.value.length;
    await this.loadAndFollow();
    // If the failure has changed, the turn is being followed now or has failed again, so leave it.
    if (this.failure.value !== failed) return;
    this.failure.value = undefined;
    const rows = this.rows.value;
    const unanswered = rows.at(-1)?.content.length === 0 ? rows.findLast(({ role }) => role === 'user') : undefined;
    const question = failed?.question ?? unanswered?.content;
    if (question !== undefined && rows.length === before) await this.sendQuestion(question);
  }

  /** Sends a question, and shows the answer while it arrives. Tools of the page run in between. */
  async sendQuestion(content: MessageContent, maxAnswerTokens?: number): Promise<void> {
    for (let next: MessageContent | undefined = content; next !== undefined && !this.#hasLeft; ) {
      this.failure.value = undefined;
      next = await this.#sendTurn(next, maxAnswerTokens);
    }
  }

  /** Continues a paused answer. */
  async continuePausedTurn(): Promise<void> {
    const last = this.rows.value.at(-1);
    if (last?.role !== 'assistant') return;
    this.failure.value = undefined;
    const stream = this.#startMessageStream([{ role: 'assistant', content: last.content } as MessageParam]);
    const next = await this.#followStream({ question: undefined, stream, isResumed: false });
    if (next !== undefined) await this.sendQuestion(next);
  }

  async readApprovals(): Promise<void> {
    if (!canReadApprovals()) return;
    const { data } = await getClient().conversations.approvals(this.id);
    if (!this.#hasLeft) this.approvals.value = data.filter(({ decision }) => decision === null);
  }

  /**
   * Decides on a call. Once all are decided, the run continues, and the page follows it. @throws SluiceError in the edge's
   * words
   */
  async decideApproval(approval: string, decision: ApprovalDecision): Promise<void> {
    const { type } = await getClient().conversations.approve(this.id, approval, decision);
    if (type === 'turn') void this.loadAndFollow();
    else await this.readApprovals();
  }

  /** Reads what a run did so far, where it is not known, or may have changed. */
  async readRunReport(turn: string): Promise<void> {
    if (isRestricted()) return;
    const path: ServedRoutePath = `/conversations/${encodePathSegment(this.id)}/turns/${encodePathSegment(turn)}`;
    const response = await getClient().fetch(path).catch(ignoreNotFoundError);
    const run = response && parseJsonPreservingNumbers(await response.text());
    if (run && !this.#hasLeft)
      this.runReports.value = new Map(this.runReports.peek()).set(turn, run as ConversationTurn);
  }

  /**
   * Copies the conversation up to before a message of the user.
   *
   * @param id the id of the copy; without one the edge makes one
   * @returns the copy, which is not shown yet
   */
  async createBranch(before: string, id: string | undefined): Promise<Session> {
    this.#isBranching.value = true;
    const { conversations } = getClient();
    const rows = this.rows.value.slice(
      0,
      this.rows.value.findIndex((row) => row.id === before),
    );
    try {
      const copy = await conversations.fork(this.id, { at: before, ...(id === undefined ? {} : { id }) });
      await conversations.rewind(copy.id, before);
      const all =
        this.branches.value.length > 0
          ? this.branches.value
          : [parseConversationBranch({ id: this.id, metadata: null })];
      const origin = findBranchOrigin(this.id, all, this.rows.value, rows.length);
      const metadata = createBranchMetadata(copy.metadata, origin) as ConversationPatch['metadata'];
      const created = new Session(copy.id, this.#onChange);
      created.report.value = await conversations.update(copy.id, { metadata });
      created.rows.value = rows;
      created.branches.value = [...all, { ...origin, id: copy.id }];
      created.isLoaded.value = true;
      return created;
    } finally {
      this.#isBranching.value = false;
    }
  }

  /** Reads from which conversations this one, and the others of its family, were copied. @param ids of the family */
  async readBranchOrigins(ids: readonly string[]): Promise<void> {
    if (ids.length < 2) return;
    const reports = await Promise.all(ids.map((id) => getClient().conversations.get(id).catch(ignoreNotFoundError)));
    this.branches.value = reports.flatMap((report) => report ?? []).map(parseConversationBranch);
  }

  async stopRunningTurn(): Promise<void> {
    await this.liveAnswer.value?.stream.stop().catch((thrown: unknown) => this.showFailure(thrown));
  }

  /** Stops listening. A running turn continues. */
  stopListening(): void {
    this.#hasLeft = true;
    cancelAnimationFrame(this.#frame);
    this.liveAnswer.value?.stream.close();
  }

  async #sendTurn(content: MessageContent, maxAnswerTokens?: number): Promise<MessageContent | undefined> {
    const question = this.#addMissingToolResults(content);
    const stream = this.#startMessageStream([{ role: 'user', content: question } as MessageParam], maxAnswerTokens);
    return await this.#followStream({ question, stream, isResumed: false });
  }

  /** The model to ask: without a list of models that of the last answer, else the conversation's own. */
  get modelToAsk(): string | undefined {
    return currentModel.value?.id ?? this.rows.value.findLast((row) => row.model)?.model ?? undefined;
  }

  #startMessageStream(messages: MessageParam[], maxAnswerTokens = maxTokens.value): MessageStream {
    const offered = listToolsForNextQuestion(!!this.report.value?.agent);
    this.hasArrived.value = false;
    this.#sendAttempts = 0;
    // The agent of a restricted token determines everything else.
    const options = isRestricted()
      ? {}
      : {
          ...(this.modelToAsk === undefined ? {} : { model: this.modelToAsk }),
          ...createThinkingRequestFields(thinkingChoice.value, currentModel.value, maxAnswerTokens),
          ...(offered.length > 0 ? { tools: offered } : {}),
        };
    return getClient().messages.stream({ conversation: this.id, messages, ...options }, this.#streamOptions);
  }

  /** Finds calls without results, because the page was closed in between. Their results go with the next question. */
  #addMissingToolResults(content: MessageContent): MessageContent {
    const last = this.rows.value.at(-1);
    if (last?.role !== 'assistant' || toContentParts(content).some(({ type }) => type === 'tool_result'))
      return content;
    const results = runPageTools(toContentParts(last.content)) as object[] as ContentPart[];
    return results.length === 0 ? content : [...results, ...toContentParts(content)];
  }

  async #resumeRunningTurn(question: MessageContent | undefined): Promise<void> {
    const stream = await getClient().conversations.resume(this.id, this.#streamOptions);
    // Without a stream, the turn has ended meanwhile, so read its rows.
    if (!stream) {
      await this.#readMessageRows();
      return;
    }
    this.failure.value = undefined;
    this.hasArrived.value = true;
    const next = await this.#followStream({ question, stream, isResumed: true });
    if (next !== undefined) await this.sendQuestion(next);
  }

  /** @returns the results of the tools that were called, which are sent next */
  async #followStream(live: StreamingAnswer): Promise<MessageContent | undefined> {
    this.liveAnswer.value = live;
    this.isLoaded.value = true;
    // Load it while the answer is on its way.
    void loadMarkdown();
    let error: unknown;
    try {
      for await (const event of live.stream) {
        if (event.type === 'message_start') this.#handleStreamStart(live.stream);
        if (!live.isResumed) this.thoughts.recordStreamEvent(live.stream.turn, event);
        this.#scheduleRender();
      }
    } catch (thrown) {
      error = thrown;
    }
    if (this.#hasLeft) return undefined;
    if (!this.hasArrived.value && this.#sendAttempts > 0)
      error ??= new SluiceError('connection_error', 'There was no connection to Sluice.');
    const { message } = live.stream;
    const before = this.rows.value.length;
    await this.#readMessageRows().catch((thrown: unknown) => {
      error ??= thrown;
    });
    this.liveAnswer.value = undefined;
    this.reconnectsAt.value = undefined;
    // The history contains the question if it had any effect. A rejected question is not in it, even if another window has
    // added rows.
    const refused = error instanceof SluiceError && (error.status ?? 500) < 500 && !this.hasArrived.value;
    const isKept = !refused && this.rows.value.length > before;
    if (error !== undefined)
      this.showFailure(error, isKept ? undefined : live.question, live.stream.lost !== undefined);
    else announceToScreenReader(live.stream.stopped ? 'Stopped.' : 'The response is complete.');
    this.#notifyChange();
    if (error !== undefined || live.stream.stopped || message?.stop_reason !== 'tool_use') return undefined;
    return hasOnlyPageToolCalls(message.content)
      ? (runPageTools(message.content) as object[] as MessageContent)
      : undefined;
  }

  #handleStreamStart({ headers, turn }: MessageStream): void {
    if (turn !== undefined && headers?.get('sluice-history') === 'truncated')
      this.truncatedTurns.value = new Set(this.truncatedTurns.value).add(turn);
    this.#notifyChange();
  }

  #notifyChange(): void {
    this.#lastListedRow = undefined;
    void Promise.all([this.#onChange(), refreshSpentToday()]).catch((thrown: unknown) => {
      // Keep an earlier failure, which is more specific than this one.
      if (!this.failure.value) this.showFailure(thrown);
    });
  }

  #scheduleRender(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      this.growthCount.value += 1;
    });
  }

  async #readConversationReport(): Promise<Conversation> {
    const report = await getClient().conversations.get(this.id);
    this.report.value = report;
    return report;
  }

  /** @returns the question of the running turn, which is shown after the history, with its answer */
  async #readMessageRows(): Promise<MessageContent | undefined> {
    const rows = await readAllMessages(getClient(), this.id, { pending: true, view: 'shown' }, () => !this.#hasLeft);
    const running = rows.at(-1)?.status === 'running' ? rows.pop()?.content : undefined;
    // Load the reports before showing the rows, so that an answer without text appears with its explanation and its cost. If a
    // report fails, show the rows without it.
    const silent = rows.filter(
      ({ turn }, index) =>
        (isTurnWithoutText(rows, index) || isRefusedWithoutText(rows, index)) && !this.#reportedTurns.has(turn),
    );
    await Promise.allSettled(
      silent.slice(-MAX_SILENT_REPORTS).map(async ({ turn }) => {
        await this.readRunReport(turn);
        this.#reportedTurns.add(turn);
      }),
    );
    this.rows.value = rows;
    return running;
  }

  /** Shows an error. @param question the question that got no answer; one that is shown as such stays */
  showFailure(thrown: unknown, question = this.failure.value?.question, isCut = false): void {
    if (this.#hasLeft) return;
    const error =
      thrown instanceof SluiceError ? thrown : new SluiceError('api_error', String(thrown), { cause: thrown });
    this.failure.value = { question, error, failedAt: Date.now(), hasArrived: this.hasArrived.value, isCut };
  }
}
