/** What must hold of a conversation and its account after every step, and once everything is at rest. */
import type Anthropic from '@anthropic-ai/sdk';
import type { ConversationProfile } from '#edge/conversations/history/storage/rows.ts';
import { NO_ANSWER } from '#edge/conversations/history/storage/tables.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { LedgerModel } from './account-model.ts';
import { CONVERSATION_ID } from './caller.ts';
import { type Host, InvariantViolation } from './host.ts';
import { Listener, type ReceivedEvents } from './listener.ts';
import { answerWordsFor } from './upstream.ts';
import type { World } from './world.ts';

/** What is owed is seen to within this time. */
export const DUE_WITHIN_MS = 60_000;
/** The statuses of turns whose messages stay, as SQL. */
export const COMMITTED_STATUSES_SQL = "('complete', 'interrupted', 'stopped', 'refused', 'empty')";

/** The text of a message, which is in pieces if it is long. */
const MESSAGE_TEXT_SQL =
  "coalesce(text, (select group_concat(piece, '') from (select p.text as piece from pieces p where p.owner = m.seq order by p.n)))";
/** Pieces of texts that no message has. */
const ORPHANED_PIECES_SQL =
  'select owner from pieces where owner > 0 and not exists (select 1 from messages where seq = owner)';

interface StoredMessageRow {
  turn: string;
  status: string;
  role: string;
  text: string;
}

/** The alarm of a conversation comes within this time: its retention, and some more. Milliseconds. */
const MAX_RETENTION_MS = 31 * 24 * 60 * 60_000;

export class ConversationModel {
  readonly listeners: Listener[] = [];
  /** The questions of those who were told that their turn has begun. */
  readonly acknowledged = new Set<string>();
  /** Whether something takes messages out again. */
  losesHistory = false;
  /** Whether the conversation, or its account, is erased: what it has cost then has no name. */
  losesMoney = false;
  /** What the last turn that was not begun was told. */
  lastError: string | undefined;
  readonly #receivedEvents: ReceivedEvents = new Map();
  readonly #host: Host;
  readonly #ledger: LedgerModel;
  readonly #world: World;
  readonly #account: Host;
  #lastCheckedChanges = 0;
  /** What was booked for each request: the account forgets its rows after a month. */
  readonly #booked = new Map<string, number>();
  /** What was booked before there was a conversation: first turns that have failed are forgotten with it. */
  #bookedBefore = 0;

  constructor(host: Host, account: Host, world: World) {
    this.#host = host;
    this.#account = account;
    this.#ledger = new LedgerModel(account);
    this.#world = world;
  }

  getListener(turn: string): Listener {
    const listener = new Listener(turn, this.#receivedEvents, this.#host);
    this.listeners.push(listener);
    return listener;
  }

  /** @returns the id of a message of the history, if it has one. */
  findMessageId(): string | undefined {
    return this.#hasTables
      ? this.#read('select id from messages order by seq desc limit 1').map(({ id }) => String(id))[0]
      : undefined;
  }

  /** Looks at what is stored. */
  check(): void {
    this.#ledger.check();
    this.#checkTotals();
    if (this.#lastCheckedChanges === this.#host.storage.changes || !this.#hasTables) return;
    this.#lastCheckedChanges = this.#host.storage.changes;
    const open = this.#read("select id from turns where status = 'running'");
    if (open.length > 1) throw new InvariantViolation(`two turns run: ${JSON.stringify(open)}`);
    this.#checkHistory();
    this.#checkPieces(open.length > 0);
    this.#checkAlarm();
  }

  /** Looks at what must have been seen to. */
  checkAtRest(): void {
    if (this.#hasTables) {
      const owed = this.#read("select id, status, settled from turns where settled = 0 or status = 'running'");
      if (owed.length > 0) throw new InvariantViolation(`not settled in the end: ${JSON.stringify(owed)}`);
      const { unreported = false, deleted = false } = this.#readProfile ?? {};
      if (unreported || deleted)
        throw new InvariantViolation(`not told in the end: ${JSON.stringify(this.#readProfile)}`);
      // The log of a whole turn stays until its conversation expires, which a busy schedule does not reach.
      const expiresBy = this.#world.clock.now + MAX_RETENTION_MS;
      const isDeletedLater = (this.#host.storage.armedAlarm ?? Number.POSITIVE_INFINITY) <= expiresBy;
      if (!isDeletedLater && this.#read('select 1 from log').length > 0)
        throw new InvariantViolation('a log is kept for ever');
    }
    this.#ledger.checkAtRest();
    if (this.#hasTables) this.#checkPieces(false);
    const asked = this.#hasTables
      ? this.#read(`select ${MESSAGE_TEXT_SQL} as text from messages m where role = 'user'`)
      : [];
    const kept = new Set(asked.map(({ text }) => String((JSON.parse(String(text)) as { content: unknown }).content)));
    for (const question of this.losesHistory || !this.#hasTables ? [] : this.acknowledged) {
      if (!kept.has(question)) throw new InvariantViolation(`${question} was acknowledged, and is not in the history`);
    }
    for (const { turn, isOver, end, wasBroken } of this.listeners) {
      if (!isOver && !end && !wasBroken) throw new InvariantViolation(`whoever hears ${turn} waits for ever`);
      if (end !== 'message_stop' || this.losesHistory || !this.#hasTables) continue;
      const kept = this.#read(`select status from turns where id = ? and status in ${COMMITTED_STATUSES_SQL}`, turn);
      if (kept.length === 0) throw new InvariantViolation(`${turn} was told to its end, and is not in the history`);
    }
  }

  #checkHistory(): void {
    const rows = this.#read(
      `select t.id as turn, t.status, m.role, ${MESSAGE_TEXT_SQL.replace('text', 'm.text')} as text from messages m join turns t on t.seq = m.turn
       where t.status in ${COMMITTED_STATUSES_SQL} order by m.seq`,
    ) as unknown as StoredMessageRow[];
    const sent = rows.filter(({ status, text }) => status !== 'refused' && text !== NO_ANSWER);
    const broken = findBrokenRule(sent.map(({ text }) => JSON.parse(text) as Anthropic.MessageParam));
    if (broken !== undefined)
      throw new InvariantViolation(`the history is not valid: ${broken}: ${JSON.stringify(rows)}`);
    let question = '';
    for (const [turn, said] of Map.groupBy(rows, ({ turn }) => turn)) {
      const [answered, ...asked] = said.map(({ text }) => JSON.parse(text) as { content: unknown }).reverse();
      // Where a question is asked again, its row is the first turn's.
      if (asked.length > 0) question = String(asked[0]?.content);
      const whole = answerWordsFor(question).join('');
      const answer = ((answered?.content ?? []) as { text: string }[]).map(({ text }) => text).join('');
      const isWhole = said[0]?.status === 'complete' ? answer === whole : whole.startsWith(answer);
      if (said.at(-1)?.role !== 'assistant' || asked.length > 1 || !isWhole) {
        throw new InvariantViolation(`${turn} is not whole: ${JSON.stringify(said)}`);
      }
    }
  }

  /** Only a turn that is being stored may have pieces without a message. A crash leaves them until its object starts again. */
  #checkPieces(isTurnRunning: boolean): void {
    const orphans = isTurnRunning ? [] : this.#read(ORPHANED_PIECES_SQL);
    if (orphans.length > 0) throw new InvariantViolation(`pieces are left: ${JSON.stringify(orphans)}`);
  }

  /** What the conversation and the list say that it has cost is what was booked, but for what is not settled yet. */
  #checkTotals(): void {
    if (this.losesMoney) return;
    const profile = this.#hasTables ? this.#readProfile : undefined;
    for (const { id, status, cost } of this.#ledger.rows()) if (status !== 'held') this.#booked.set(id, cost);
    const booked = [...this.#booked].map(([id, cost]) => ({ id, cost }));
    if (!profile) {
      this.#bookedBefore = sumOf(booked);
      return;
    }
    const open = this.#read("select request_id, cost, status from turns where settled = 0 or status = 'running'");
    const isOpen = (id: string) =>
      open.some(({ request_id }) => id === request_id || id.startsWith(`${String(request_id)}.`));
    const ended = open.filter(({ status }) => status !== 'running') as unknown as { cost: number }[];
    const own = profile.cost - sumOf(ended);
    const settled = sumOf(booked.filter(({ id }) => !isOpen(id))) - this.#bookedBefore;
    if (own !== settled) {
      const figures = JSON.stringify({ open, booked, before: this.#bookedBefore });
      throw new InvariantViolation(`the total of the conversation is ${own}, and ${settled} is booked: ${figures}`);
    }
    if (open.length > 0 || profile.unreported || !profile.exists) return;
    const [listed] = this.#account.storage
      .exec('select cost from conversations where id = ?', [CONVERSATION_ID])
      .toArray();
    if (listed && Number(listed.cost) !== profile.cost)
      throw new InvariantViolation(
        `the list says that it has cost ${Number(listed.cost)}, and it has cost ${profile.cost}`,
      );
  }

  #checkAlarm(): void {
    const profile = this.#readProfile;
    if (!profile) return;
    const at = this.#host.storage.armedAlarm;
    if (at === null) throw new InvariantViolation('there is a conversation, and no alarm');
    const owed = this.#read("select id from turns where settled = 0 or status = 'running'").length > 0;
    if ((owed || profile.unreported) && at > this.#world.clock.now + DUE_WITHIN_MS) {
      throw new InvariantViolation(
        `something is owed, and the alarm comes in ${(at - this.#world.clock.now) / 1_000} s`,
      );
    }
  }

  get #readProfile(): ConversationProfile | undefined {
    const [row] = this.#read("select value from meta where key = 'profile'");
    return row && (JSON.parse(String(row.value)) as ConversationProfile);
  }

  get #hasTables(): boolean {
    return this.#read("select 1 from sqlite_master where name = 'turns'").length > 0;
  }

  #read(query: string, ...bindings: string[]) {
    return this.#host.storage.exec(query, bindings).toArray();
  }
}

function sumOf(rows: readonly { cost: number }[]): number {
  return rows.reduce((sum, { cost }) => sum + cost, 0);
}
