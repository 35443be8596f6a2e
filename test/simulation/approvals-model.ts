/** What must hold of calls that wait for approval: after every step, as each call arrives, and once everything is at rest. */
import type Anthropic from '@anthropic-ai/sdk';
import { NO_ANSWER } from '#edge/conversations/history/storage/tables.ts';
import type { ApprovalDecisionRequest, ApprovalDecisionResult } from '#edge/conversations/object/contract.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { LedgerModel } from './account-model.ts';
import { COMMITTED_STATUSES_SQL, DUE_WITHIN_MS } from './conversation-model.ts';
import { type Host, InvariantViolation } from './host.ts';
import { Listener, type ReceivedEvents } from './listener.ts';
import { type ExecutedCall, ONCE_ONLY_TOOLS, PAID_RESULT, readRows, type SimulatedTools } from './simulated-tools.ts';
import type { World } from './world.ts';

interface ApprovalHosts {
  conversation: Host;
  account: Host;
  /** What a fork has made, if there was one. */
  copy: Host;
}

/** A row of `approvals`. */
interface Approval {
  id: string;
  run: number;
  turn: number;
  n: number;
  tool_use_id: string;
  name: string;
  decision: 'approve' | 'deny' | 'cancel' | null;
  input: string | null;
  continued_by: number | null;
}

type DecisionInput = Pick<ApprovalDecisionRequest, 'decision' | 'reason' | 'input'>;

export class ApprovalsModel {
  readonly listeners: Listener[] = [];
  /** The ids of all calls that were ever seen to wait, in the order in which they came. */
  readonly seenCallIds: string[] = [];
  /** Whether something takes messages out again, or everything. */
  losesHistory = false;
  isErased = false;
  /** Whether somebody stops or cancels a turn. */
  hasStopped = false;
  /** What the last turn that was not begun was told. */
  lastError: string | undefined;
  readonly #objects: ApprovalHosts;
  readonly #world: World;
  readonly #simulatedTools: SimulatedTools;
  readonly #ledger: LedgerModel;
  readonly #receivedEvents: ReceivedEvents = new Map();
  readonly #requestedDecisions = new Map<string, DecisionInput[]>();
  readonly #confirmedDecisions = new Map<string, DecisionInput>();
  readonly #storedDecisions = new Map<string, string>();
  readonly #startedAt = new Map<string, string>();
  #lastCheckedChanges = 0;
  /** What was booked before the conversation was stored: its total begins after that. */
  #bookedBefore = 0;

  constructor(objects: ApprovalHosts, world: World, till: SimulatedTools) {
    this.#objects = objects;
    this.#world = world;
    this.#simulatedTools = till;
    this.#ledger = new LedgerModel(objects.account);
  }

  getListener(turn: string): Listener {
    const listener = new Listener(turn, this.#receivedEvents, this.#objects.conversation);
    this.listeners.push(listener);
    return listener;
  }

  /** The ids of the calls about which nobody has decided. */
  get openCallIds(): string[] {
    return this.#readApprovals().flatMap(({ id, decision }) => (decision === null ? [id] : []));
  }

  get isWaiting(): boolean {
    return this.openCallIds.length > 0;
  }

  findMessageId(which: 'first' | 'last'): string | undefined {
    const order = which === 'first' ? 'asc' : 'desc';
    const [row] = this.#read('messages', `select id from messages order by seq ${order} limit 1`);
    return row && String(row.id);
  }

  findNewestRun(): string | undefined {
    const [row] = this.#read('turns', 'select id from turns where run = seq order by seq desc limit 1');
    return row && String(row.id);
  }

  /** Somebody says this about a call. */
  noteDecisionRequest(id: string, decided: DecisionInput): void {
    this.#requestedDecisions.set(id, [...(this.#requestedDecisions.get(id) ?? []), decided]);
  }

  /** Somebody was told that this holds. */
  noteDecisionResult(id: string, decided: DecisionInput, { status, turn }: ApprovalDecisionResult): void {
    const before = this.#confirmedDecisions.get(id);
    if (before && textOf(before) !== textOf(decided)) {
      throw new InvariantViolation(`${id} was confirmed as ${textOf(before)}, and as ${textOf(decided)}`);
    }
    this.#confirmedDecisions.set(id, decided);
    if (status !== 202) return;
    // A call that came twice is answered twice; the second time nothing begins.
    const begun = this.#startedAt.get(id);
    if (begun !== undefined && begun !== turn) throw new InvariantViolation(`${id} has begun ${begun}, and ${turn}`);
    this.#startedAt.set(id, turn);
  }

  /** A call has arrived: it must be one that was not to be asked about, or one that was approved, as it was approved. */
  checkCall({ id, name, input }: ExecutedCall): void {
    const { amount } = input as { amount: number };
    const times = this.#simulatedTools.countExecutions(id);
    if (times > 1 && ONCE_ONLY_TOOLS.has(name)) throw new InvariantViolation(`${name} ${id} was made ${times} times`);
    if (times > 1 + this.#objects.conversation.deathCount)
      throw new InvariantViolation(`${name} ${id} was made ${times} times`);
    if (name === 'look') return;
    const row = this.#readApprovals().find(({ tool_use_id: own }) => own === id);
    // What was erased, or taken back while its call was on its way, nobody knows any more.
    if (!row && this.losesHistory) return;
    if (!row && name === 'remind' && amount <= 10) return;
    if (row?.decision !== 'approve')
      throw new InvariantViolation(`${name} ${id} was made, and is ${JSON.stringify(row)}`);
    const isAsked = this.#requestedDecisions.get(row.id)?.some(({ decision, input: other }) => {
      return decision === 'approve' && (other ?? null) === row.input;
    });
    if (!isAsked) throw new InvariantViolation(`nobody has approved ${JSON.stringify(row)}`);
    if (row.input !== null && row.input !== JSON.stringify(input)) {
      throw new InvariantViolation(`${id} was made with ${JSON.stringify(input)} in the place of ${row.input}`);
    }
  }

  /** Looks at what is stored. */
  check(): void {
    this.#ledger.check();
    const { conversation } = this.#objects;
    if (!this.#readProfile) this.#bookedBefore = this.#sumBookedCosts();
    if (this.#lastCheckedChanges === conversation.storage.changes) return;
    this.#lastCheckedChanges = conversation.storage.changes;
    const running = this.#read('turns', "select id, run, seq from turns where status = 'running'");
    const runs = running.filter(({ run, seq }) => run === null || run === seq);
    if (runs.length > 1) throw new InvariantViolation(`two turns run: ${JSON.stringify(running)}`);
    const rows = this.#readApprovals();
    for (const { id } of rows) if (!this.seenCallIds.includes(id)) this.seenCallIds.push(id);
    const open = rows.filter(({ decision }) => decision === null);
    if (open.length > 0 && running.length > 0) {
      throw new InvariantViolation(`a turn runs while calls wait: ${JSON.stringify([running, open])}`);
    }
    for (const row of rows) this.#checkDecision(row, rows);
    this.#checkHistory(conversation);
    this.#checkAlarm();
  }

  /** What was decided stays, and a run goes on when all of its calls are decided, and not before. */
  #checkDecision({ id, run, decision, input, continued_by }: Approval, rows: readonly Approval[]): void {
    const now = textOfRow({ decision, input });
    const before = this.#storedDecisions.get(id);
    // To cancel the turn that waits takes back what was decided about some of its calls.
    if (before !== undefined && before !== now && decision !== 'cancel')
      throw new InvariantViolation(`${id} was ${before}, and is ${now}`);
    if (decision !== null) this.#storedDecisions.set(id, now);
    const others = rows.filter((one) => one.run === run);
    const isDecided = others.every((one) => one.decision !== null);
    const isCancelled = others.some((one) => one.decision === 'cancel');
    if (continued_by !== null && !isDecided) throw new InvariantViolation(`${id} goes on before all are decided`);
    if (isDecided && !isCancelled && continued_by === null && !this.losesHistory) {
      throw new InvariantViolation(`all calls are decided, and nothing goes on: ${JSON.stringify(others)}`);
    }
  }

  #checkHistory(host: Host): void {
    const messages = readRows(
      host,
      'turns',
      `select m.text from messages m join turns t on t.seq = m.turn
       where t.status in ${COMMITTED_STATUSES_SQL} and t.status != 'refused' and m.text != '${NO_ANSWER}' order by m.seq`,
    ).map(({ text }) => JSON.parse(String(text)) as Anthropic.MessageParam);
    const broken = findBrokenRule(messages);
    if (broken !== undefined)
      throw new InvariantViolation(`the history is not valid: ${broken}: ${JSON.stringify(messages)}`);
  }

  #checkAlarm(): void {
    const profile = this.#readProfile;
    if (!profile) return;
    const at = this.#objects.conversation.storage.armedAlarm;
    if (at === null) throw new InvariantViolation('there is a conversation, and no alarm');
    const owed = this.#read('turns', "select id from turns where settled = 0 or status = 'running'");
    if ((owed.length > 0 || profile.unreported) && at > this.#world.clock.now + DUE_WITHIN_MS) {
      throw new InvariantViolation(
        `something is owed, and the alarm comes in ${(at - this.#world.clock.now) / 1_000} s`,
      );
    }
  }

  /** Looks at what must have been seen to. @returns what has become of each call that was seen to wait */
  checkAtRest(): string[] {
    const { conversation, account, copy } = this.#objects;
    for (const host of [conversation, copy]) {
      const owed = readRows(
        host,
        'turns',
        "select id, status, settled from turns where settled = 0 or status = 'running'",
      );
      if (owed.length > 0) throw new InvariantViolation(`not settled in the end: ${JSON.stringify(owed)}`);
    }
    this.#checkHistory(copy);
    const copied = readRows(copy, 'approvals', 'select id from approvals');
    if (copied.length > 0) throw new InvariantViolation(`a copy has calls that wait: ${JSON.stringify(copied)}`);
    this.#ledger.checkAtRest();
    this.#checkAccount(account);
    for (const { turn, isOver, end, wasBroken } of this.listeners) {
      if (!isOver && !end && !wasBroken) throw new InvariantViolation(`whoever hears ${turn} waits for ever`);
    }
    const rows = this.#readApprovals();
    for (const [id, decided] of this.#confirmedDecisions) {
      const row = rows.find((one) => one.id === id);
      if (!row && !this.losesHistory) throw new InvariantViolation(`${id} was confirmed, and is gone`);
      if (row && row.decision !== 'cancel' && textOfRow(row) !== `${decided.decision} ${inputOf(decided)}`) {
        throw new InvariantViolation(`${id} was confirmed as ${textOf(decided)}, and is ${JSON.stringify(row)}`);
      }
    }
    return this.seenCallIds.map((id) => this.#outcomeOf(id, rows));
  }

  #sumBookedCosts(): number {
    const query = "select coalesce(sum(cost), 0) as booked from ledger where conversation = 'c1' and status != 'held'";
    return Number(readRows(this.#objects.account, 'ledger', query)[0]?.booked ?? 0);
  }

  /** What the account tells of the conversation is what the conversation is, and it has cost what was booked. */
  #checkAccount(account: Host): void {
    const profile = this.#readProfile;
    if (!profile) return;
    const { turns, messages, cost, paused = null, unreported, exists } = profile;
    if (unreported) throw new InvariantViolation(`not told in the end: ${JSON.stringify(profile)}`);
    const [row] = readRows(
      account,
      'conversations',
      "select turns, messages, cost, paused from conversations where id = 'c1'",
    );
    const told = exists ? JSON.stringify({ turns, messages, cost, paused }) : undefined;
    if (JSON.stringify(row) !== told) throw new InvariantViolation(`told: ${JSON.stringify(row)}; it is ${told}`);
    if ((paused !== null) !== this.isWaiting)
      throw new InvariantViolation(`paused: ${paused}, and open: ${this.openCallIds}`);
    if (this.losesHistory) return;
    const booked = this.#sumBookedCosts() - this.#bookedBefore;
    if (booked !== cost) throw new InvariantViolation(`it has cost ${cost}, and ${String(booked)} are booked`);
  }

  /** @returns what has become of a call, which was made as often as that says */
  #outcomeOf(id: string, rows: readonly Approval[]): string {
    const row = rows.find((one) => one.id === id);
    if (!row) {
      if (!this.losesHistory) throw new InvariantViolation(`${id} is gone`);
      return 'rewound';
    }
    const { decision, tool_use_id: call, turn, n } = row;
    const times = this.#simulatedTools.countExecutions(call);
    if (decision !== 'approve') {
      if (times > 0) throw new InvariantViolation(`${call} is ${decision ?? 'undecided'}, and was made ${times} times`);
      return decision ?? 'waits';
    }
    if (rows.some((one) => one.run === row.run && one.decision === null)) {
      if (times > 0) throw new InvariantViolation(`${call} was made ${times} times before its run has gone on`);
      return 'waits';
    }
    const [known] = this.#read('calls', 'select result, tries from calls where turn = ? and n = ?', turn, n);
    const { content } = JSON.parse(String(known?.result ?? '{}')) as { content?: string };
    if (content === undefined) throw new InvariantViolation(`${call} was approved, and has no result`);
    if (content.endsWith(PAID_RESULT)) {
      if (times < 1) throw new InvariantViolation(`${call} has a result, and was not made`);
      return 'made';
    }
    const isQuiet = this.#objects.conversation.deathCount === 0 && !this.hasStopped && !this.losesHistory;
    if (isQuiet && times !== 1)
      throw new InvariantViolation(`${call} was approved, and was made ${times} times: ${content}`);
    return times > 0 ? 'made, and not known' : 'not made';
  }

  get #readProfile():
    | {
        turns: number;
        messages: number;
        cost: number;
        paused?: string | null;
        unreported: boolean;
        exists: boolean;
        createdAt: number;
        deleted: boolean;
      }
    | undefined {
    const [row] = this.#read('meta', "select value from meta where key = 'profile'");
    return row && JSON.parse(String(row.value));
  }

  #readApprovals(): Approval[] {
    return this.#read('approvals', 'select * from approvals order by turn, n') as unknown as Approval[];
  }

  #read(table: string, query: string, ...bindings: (string | number)[]) {
    return readRows(this.#objects.conversation, table, query, ...bindings);
  }
}

function inputOf({ input }: DecisionInput): string | null {
  return input ?? null;
}

function textOfRow({ decision, input }: Pick<Approval, 'decision' | 'input'>): string {
  return `${decision} ${input}`;
}

function textOf(decided: DecisionInput): string {
  return `${decided.decision} ${decided.reason ?? ''} ${inputOf(decided)}`;
}
