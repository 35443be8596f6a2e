/**
 * The rows of a conversation: its profile, turns, messages, and the log of the turn that runs.
 *
 * A turn's user messages are written when it begins, and its answer when it ends. They belong to the history once the turn's
 * own row says how it ended. So nothing is written twice, and a turn is in the history as a whole or not at all. This file is
 * long because it keeps together what must be written together.
 */

import { type SqliteRow, toColumns } from '../../../durable/columns.ts';
import { PluginTablesRegistry } from '../../../durable/plugin-tables.ts';
import { createTables, readMetaTable } from '../../../durable/schema.ts';
import { SqlTables } from '../../../durable/tables.ts';
import type { SteppedWork } from '../../../kit/async/run-in-steps.ts';
import { getOrCreate } from '../../../kit/cache/get-or-create.ts';
import { encoder } from '../../../kit/http/bytes.ts';
import { catchDamagedRow, type DamagedRow, DamagedTable, parseStored } from './damaged-row.ts';
import { type CachedHistory, deleteHistoryAfterOwner, historyCache } from './history-cache.ts';
import { LogRows } from './log-rows.ts';
import { MessageRows } from './message-rows.ts';
import { PIECE_CHARACTERS } from './message-text.ts';
import { createOwnersConditionSql, divideText, readTextPieces, SHOWN_OWNER_OFFSET, writeTextPieces } from './pieces.ts';
import {
  type EdgeCalls,
  type HistorySubstituteReader,
  NO_EDGE_CALLS,
  type PluginRows,
  type PluginRowsDefinition,
  rowsInUse,
} from './plugin-rows.ts';
import {
  type ConversationProfile,
  type NewMessage,
  parseTurnRow,
  selectRareTurnColumns,
  type TurnRow,
  type TurnStatus,
} from './rows.ts';
import { COMMITTED, CONVERSATION_TABLES, OF_UNSETTLED_RUN } from './tables.ts';
import { selectVisibleNotes } from './turn-notes.ts';

/** The frozen texts of a conversation. `runs` are the tools of its prefix that the edge calls; `agent` is its agent. */
type FrozenTextName = 'system' | 'tools' | 'runs' | 'agent';
const OWNERS: Record<FrozenTextName, number> = { system: -1, tools: -2, runs: -3, agent: -4 };

/** The size of the database is read again after this many bytes were added. */
const SIZE_CHECK_BYTES = 32_768;
/** About how many bytes a row takes in addition to its text. The row of a turn takes most. */
const ROW_BYTES = 400;

/** The history of a larger database is read in steps. At once, each megabyte takes about 6 ms. */
const LARGE_BYTES = 2_000_000;

/** So many short messages, or characters of them, are one step. */
const [STEP_MESSAGES, STEP_CHARACTERS] = [100, 65_536];

/** The turns that an object reads when it wakes. */
interface TurnsReadAtWake {
  /** The newest turn, of whatever status. */
  newest: TurnRow | undefined;
  unsettled: readonly TurnRow[];
}

export class Transcript extends SqlTables {
  readonly log: LogRows;
  readonly messages: MessageRows;
  readonly #key = {};
  /** The rows of plugins, by their kinds. */
  readonly #rows = new Map<PluginRowsDefinition, PluginRows>();
  readonly #pluginTables: PluginTablesRegistry;
  #profile: ConversationProfile | undefined;
  /** Why nothing of it can be used, not even its profile. */
  damage: DamagedRow | undefined;
  /** Whether the profile in memory is newer than the stored one. */
  #hasUnsavedProfile = false;
  /** Whether there are no tables. */
  #isEmpty: boolean;
  /** The number of the newest turn; undefined while it is not known. */
  #newest: number | undefined;
  /** The turns that were read when the object woke; only until something is written. */
  #turnsAtWake: TurnsReadAtWake | undefined;
  /** The size of the database when it was last read, and about how much was added since; bytes. */
  #size: { pages: number; added: number } | undefined;

  constructor(storage: DurableObjectStorage) {
    super(storage);
    deleteHistoryAfterOwner(this, this.#key);
    this.#pluginTables = new PluginTablesRegistry(storage, this);
    this.log = new LogRows(this);
    this.messages = new MessageRows(this);
    this.#isEmpty = false;
    // Remember the damage instead of throwing: an object whose constructor throws could not even be deleted.
    this.damage = catchDamagedRow(() => {
      // Do not create the tables here, because reading an unknown id must not store anything. The first write creates them.
      const meta = readMetaTable(storage.sql);
      this.#isEmpty = meta === undefined && !this.hasRows("sqlite_master where name = 'turns'");
      if (!this.#isEmpty) this.#openTables(meta);
    });
  }

  /**
   * The profile as it is stored. It is stored before callers can see the conversation, while its first turn or copy begins, and
   * after its deletion, until the account has confirmed that. Compare `ConversationContext.visibleProfile`.
   *
   * @throws DamagedRow if it cannot be read
   */
  get storedProfile(): ConversationProfile | undefined {
    if (this.damage) throw this.damage;
    return this.#profile;
  }

  /** The stored profile of a conversation that may be damaged, to find its account and to delete it. */
  get uncheckedProfile(): ConversationProfile | undefined {
    return this.#profile;
  }

  /** Whether it is so large that its history is read in steps. */
  get isLarge(): boolean {
    return (this.#profile?.bytes ?? 0) > LARGE_BYTES;
  }

  /** @returns a function that returns whether rows or the profile have changed since this call */
  trackChanges(): () => boolean {
    const { rowsWritten } = this;
    const profile = this.#profile;
    return () => this.rowsWritten !== rowsWritten || this.#profile !== profile;
  }

  get cachedHistory(): CachedHistory | undefined {
    return historyCache.get(this.#key);
  }

  storeCachedHistory(history: CachedHistory): void {
    historyCache.set(this.#key, history);
  }

  /** @returns the rows of a plugin */
  getPluginRows<Of extends PluginRows>(kind: PluginRowsDefinition<Of>): Of {
    // The cast is safe: the map stores under each kind only what `openRows` of that kind has returned.
    return getOrCreate(this.#rows, kind, () =>
      kind.openRows(this.#pluginTables.getPluginTables(kind.name, kind.tables), this),
    ) as Of;
  }

  get #pluginRows(): PluginRows[] {
    return rowsInUse().map((kind) => this.getPluginRows(kind));
  }

  /** @returns the first value that a plugin's rows return; undefined if none returns any */
  findFirstFromPlugins<T>(read: (rows: PluginRows) => T | null | undefined): T | undefined {
    for (const rows of this.#pluginRows) {
      const found = read(rows);
      if (found !== undefined && found !== null) return found;
    }
    return undefined;
  }

  /** The calls that the edge has made. */
  get edgeCalls(): EdgeCalls {
    return this.findFirstFromPlugins(({ calls }) => calls) ?? NO_EDGE_CALLS;
  }

  /** The texts that can replace the beginning of the history; undefined if no plugin has any. */
  get historySubstitutes(): HistorySubstituteReader | undefined {
    return this.findFirstFromPlugins(({ standIns }) => standIns);
  }

  /** @throws whatever `change` throws; then neither rows nor memory have changed */
  override runInTransaction<T>(change: () => T): T {
    const [profile, isUnsaved, isEmpty] = [this.#profile, this.#hasUnsavedProfile, this.#isEmpty];
    try {
      return this.#pluginTables.transactWithTableCreation(() => super.runInTransaction(change));
    } catch (thrown) {
      // The rows are rolled back, so restore the old profile in memory, too. A repeated change would otherwise be applied to
      // the profile twice.
      this.#clearCachedState();
      // Drop the plugins' row objects: they may have cached rows that are rolled back now.
      this.#rows.clear();
      this.#size = undefined;
      this.#profile = profile;
      this.#hasUnsavedProfile = isUnsaved;
      this.#isEmpty = isEmpty;
      throw thrown;
    }
  }

  /** The number of the newest turn, whatever its status is; 0 if there is none. */
  get newestTurnNumber(): number {
    this.#newest ??= this.queryNumberOrZero('select max(seq) from turns');
    return this.#newest;
  }

  #clearCachedState(): void {
    historyCache.delete(this.#key);
    this.#turnsAtWake = undefined;
    this.#newest = undefined;
  }

  /** Makes the tables and writes a new conversation's profile. @returns whether the object was empty before */
  createConversation(profile: ConversationProfile): boolean {
    const isNew = this.#isEmpty;
    this.#clearCachedState();
    if (isNew) createTables(this.storage, CONVERSATION_TABLES);
    this.#isEmpty = false;
    if (isNew) this.#newest = 0;
    this.#size = undefined;
    this.saveProfile(profile);
    return isNew;
  }

  /** Forgets everything in memory, after the rows and tables were deleted. */
  clearMemory(): void {
    this.#clearCachedState();
    this.#profile = undefined;
    this.damage = undefined;
    this.#size = undefined;
    this.#isEmpty = true;
    this.#pluginTables.forgetCreatedTables();
    this.#rows.clear();
  }

  saveProfile(profile: ConversationProfile, bytes = this.bytes): void {
    const saved = { ...profile, bytes: bytes + this.#computeProfileGrowth(profile) };
    this.writeMetaValue('profile', JSON.stringify(saved));
    this.#profile = saved;
    this.#hasUnsavedProfile = false;
  }

  /**
   * Keeps a profile in memory until the next one is saved. After a crash its changes are made again from rows: see `through`.
   */
  keepUnsavedProfile(profile: ConversationProfile): void {
    this.#profile = profile;
    this.#hasUnsavedProfile = true;
  }

  /** Saves the profile if it is newer than the stored one. */
  saveUnsavedProfile(): void {
    if (this.#hasUnsavedProfile && this.#profile) this.saveProfile(this.#profile);
  }

  /** @returns by how many bytes the profile's row will grow. The size of the database does not have them yet. */
  #computeProfileGrowth(profile: ConversationProfile): number {
    const before = this.#profile;
    // Return early: most changes do not touch the title or the metadata, the two members that make the row grow.
    if (before?.title === profile.title && before.metadata === profile.metadata) return 0;
    return Math.max(0, computeProfileSize(profile) - (before ? computeProfileSize(before) : 0));
  }

  /**
   * The bytes of the database with its tables and logs, as the platform bills them. What was added since the last read is
   * estimated, because reading the size takes as long as a statement.
   */
  get bytes(): number {
    if (this.#size === undefined || this.#size.added > SIZE_CHECK_BYTES) {
      this.#size = { pages: this.storage.sql.databaseSize, added: 0 };
    }
    return this.#size.pages + this.#size.added;
  }

  /** The turns that were read when the object woke; undefined since something was written. */
  get turnsAtWake(): TurnsReadAtWake | undefined {
    return this.#turnsAtWake;
  }

  /** Keeps the turns that were read when the object woke: an object that wakes has to prepare each query anew. */
  storeTurnsAtWake(turns: TurnsReadAtWake): void {
    this.#turnsAtWake = turns;
    if (this.#profile) this.#newest = turns.newest?.seq ?? 0;
    if (turns.newest) this.log.recordTurnEndTime(turns.newest);
  }

  override runWriteStatement(statement: string, ...bindings: SqlStorageValue[]): number {
    this.#turnsAtWake = undefined;
    return super.runWriteStatement(statement, ...bindings);
  }

  override insertRows(table: string, rows: readonly SqliteRow[], verb?: string): number {
    const written = super.insertRows(table, rows, verb);
    if (this.#size)
      for (const { text } of rows) this.#size.added += ROW_BYTES + (typeof text === 'string' ? text.length : 0);
    return written;
  }

  /** The JSON texts of the frozen `system` and `tools`. */
  get frozenTexts(): Record<Exclude<FrozenTextName, 'agent'>, string | undefined> {
    const texts = new Map<number, string>();
    const pieces = this.#profile
      ? this.readAllRows('select owner, text from pieces where owner between ? and -1 order by owner, n', OWNERS.runs)
      : [];
    for (const piece of pieces) {
      const owner = Number(piece.owner);
      texts.set(owner, (texts.get(owner) ?? '') + String(piece.text));
    }
    const { system, tools, runs } = OWNERS;
    return {
      system: texts.get(system),
      tools: texts.get(tools),
      runs: this.#profile?.prefix ? texts.get(runs) : undefined,
    };
  }

  /** The JSON text of its agent. */
  get frozenAgent(): string {
    return this.#profile ? readTextPieces(this, OWNERS.agent) : '';
  }

  storeFrozenText(owner: FrozenTextName, text: string | undefined): void {
    this.#clearCachedState();
    this.runWriteStatement('delete from pieces where owner = ?', OWNERS[owner]);
    if (text !== undefined) writeTextPieces(this, OWNERS[owner], text);
  }

  /**
   * Stores a turn and its messages, all or nothing. (The platform stores all writes between two waits together. A transaction
   * that could only undo them would cost as much as two rows.)
   */
  storeNewTurn(turn: TurnRow, messages: readonly NewMessage[]): void {
    const { seq, id, requestId, key, hash, route, model, beganAt, frame, sentFrom, follows, run, events } = turn;
    const began = {
      seq,
      id,
      requestId,
      key,
      hash,
      route,
      model,
      beganAt,
      frame,
      sentFrom,
      follows,
      ...selectRareTurnColumns(turn),
    };
    this.insertRow('turns', toColumns({ ...began, ...(run === null ? {} : { run, events }), status: 'running' }));
    this.#newest = Math.max(seq, this.#newest ?? seq);
    try {
      this.addMessages(messages);
    } catch (thrown) {
      this.deleteMessages('turn = ?', seq);
      this.deleteTurns('seq = ?', seq);
      throw thrown;
    }
  }

  /** Deletes the damaged rows that describe how a turn continues. */
  deleteDamagedContinuation(turn: number): void {
    for (const rows of this.#pluginRows) rows.dropDamaged?.(turn);
  }

  /** Stores turns that have ended elsewhere and have the same columns, without their messages. */
  insertEndedTurns(turns: readonly Partial<TurnRow>[]): void {
    this.#clearCachedState();
    this.insertRows(
      'turns',
      turns.map((turn) => toColumns(turn)),
    );
  }

  /** Changes members of a turn's row. The id is checked too, because numbers of deleted turns are used again. */
  updateTurn({ seq, id }: Pick<TurnRow, 'seq' | 'id'>, change: Partial<TurnRow>): void {
    this.updateRows('turns', toColumns(change), 'seq = ? and id = ?', seq, id);
  }

  /** Stores the end of a turn, and drops the cached history, which lacks it. */
  storeTurnEnd(turn: TurnRow): void {
    historyCache.delete(this.#key);
    const { status, endedAt, grant, outcome, cost, tokens, frame, events, settled, model } = turn;
    const notes = selectVisibleNotes(turn);
    this.updateTurn(turn, { status, endedAt, grant, outcome, cost, tokens, frame, events, settled, model, notes });
    this.log.recordTurnEndTime(turn);
  }

  /** Deletes the turns that meet a condition on their columns, with the rows of plugins and the texts that belong to them. */
  deleteTurns(condition: string, ...bindings: SqlStorageValue[]): void {
    this.#clearCachedState();
    const turns = `select seq from turns where ${condition}`;
    this.runWriteStatement(`delete from pieces where ${createOwnersConditionSql(turns)}`, ...bindings);
    for (const rows of this.#pluginRows) rows.deleteOf?.(turns, ...bindings);
    this.runWriteStatement(`delete from turns where ${condition}`, ...bindings);
  }

  /**
   * Removes all turns from a number on from the history. Unsettled rows remain, and their idempotency keys can be used again. A
   * step whose run stored whether it is settled stores that itself from now on, because the run is removed.
   */
  removeTurnsFromHistory(from: number): void {
    this.#clearCachedState();
    this.runWriteStatement('delete from log where turn >= ?', from);
    this.runWriteStatement(
      `update turns set status = 'failed', key = null, settled = 0
       where seq >= ? and (settled = 0 or (status != 'failed' and ${OF_UNSETTLED_RUN}))`,
      from,
    );
    this.deleteTurns('settled = 1 and seq >= ?', from);
  }

  /** Excludes turns from what is sent. They are shown as refused turns. @param condition a condition on their columns */
  markTurnsRefused(condition: string, ...bindings: SqlStorageValue[]): void {
    this.#clearCachedState();
    const sent = `status in ${COMMITTED} and status != 'refused'`;
    this.runWriteStatement(`update turns set status = 'refused' where ${sent} and ${condition}`, ...bindings);
  }

  /** @returns the turns that meet a condition on their columns, oldest first. */
  listTurns(condition = '1', ...bindings: SqlStorageValue[]): TurnRow[] {
    if (!this.#profile) return [];
    return this.readAllRows(`select * from turns where ${condition} order by seq`, ...bindings).map(parseTurnRow);
  }

  getTurnStatus(seq: number): TurnStatus | undefined {
    return this.readAllRows<{ status: TurnStatus }>('select status from turns where seq = ?', seq)[0]?.status;
  }

  addMessage(message: NewMessage): void {
    this.addMessages([message]);
  }

  addMessages(messages: readonly NewMessage[]): void {
    this.#insertMessageRows(messages);
    for (const message of messages) for (const piece of this.#divideLongTexts(message)) this.insertRow('pieces', piece);
  }

  /** Adds messages in steps: a message follows all pieces of its texts, so that each stored message is complete. */
  *addMessagesInSteps(messages: readonly NewMessage[]): SteppedWork<void> {
    let some: NewMessage[] = [];
    let characters = 0;
    for (const message of messages) {
      const pieces = this.#divideLongTexts(message);
      for (const piece of pieces) {
        yield piece.text.length;
        this.insertRow('pieces', piece);
      }
      some.push(message);
      characters += this.exceedsRow(message.text.length) ? 0 : message.text.length;
      if (characters < STEP_CHARACTERS && some.length < STEP_MESSAGES) continue;
      yield characters;
      this.#insertMessageRows(some);
      some = [];
      characters = 0;
    }
    yield characters;
    this.#insertMessageRows(some);
  }

  /** @returns whether so many characters do not fit into one row */
  exceedsRow(characters: number): boolean {
    return characters > PIECE_CHARACTERS;
  }

  /** @returns the pieces of a message's texts that its row does not contain */
  #divideLongTexts({ seq, text, shown }: NewMessage): ReturnType<typeof divideText> {
    return [
      ...(this.exceedsRow(text.length) ? divideText(seq, text) : []),
      ...(shown ? divideText(SHOWN_OWNER_OFFSET + seq, shown) : []),
    ];
  }

  #insertMessageRows(messages: readonly NewMessage[]): void {
    const haveOrigin = messages.some(({ origin }) => origin);
    const haveShown = messages.some(({ shown }) => shown);
    const rows = messages.map(({ seq, turn, id, role, createdAt, text, origin = null, shown }) => {
      const stored = { characters: text.length, text: this.exceedsRow(text.length) ? null : text };
      const seldom = { ...(haveOrigin && { origin }), ...(haveShown && { shown: shown ? 1 : null }) };
      return { seq, turn, id, role, created_at: createdAt, ...stored, ...seldom };
    });
    this.insertRows('messages', rows);
  }

  /** Deletes the messages that meet a condition on their columns. */
  deleteMessages(condition: string, ...bindings: SqlStorageValue[]): void {
    this.#clearCachedState();
    const owners = `(select 0 as more union all select ${SHOWN_OWNER_OFFSET})`;
    const divided = `select seq + more from messages, ${owners} where (text is null or shown = 1) and ${condition}`;
    this.runWriteStatement(`delete from pieces where owner in (${divided})`, ...bindings);
    this.runWriteStatement(`delete from messages where ${condition}`, ...bindings);
  }

  /**
   * Deletes the messages of a turn whose messages were not all stored (`addMessagesInSteps`), and the pieces that no message
   * refers to yet.
   */
  deleteIncompleteMessages(turn: number): void {
    this.deleteMessages('turn = ?', turn);
    const { nextMessage = 1 }: Partial<ConversationProfile> = this.#profile ?? {};
    for (const offset of [0, SHOWN_OWNER_OFFSET]) {
      this.runWriteStatement(
        `delete from pieces where owner >= ? and owner < ?
         and not exists (select 1 from messages where seq = pieces.owner - ?)`,
        offset + nextMessage,
        offset + SHOWN_OWNER_OFFSET,
        offset,
      );
    }
  }

  /** Deletes everything except the profile and the turns that are not settled yet. */
  deleteHistory(): void {
    this.#clearCachedState();
    for (const table of ['messages', 'pieces', 'log']) this.runWriteStatement(`delete from ${table}`);
    for (const rows of this.#pluginRows) rows.deleteHistoryRows();
    this.runWriteStatement(`delete from turns where settled = 1 and not ${OF_UNSETTLED_RUN}`);
  }

  /** Deletes the history, and also the pending notifications of plugins, because the conversation is deleted. */
  deleteHistoryAndNotifications(): void {
    this.deleteHistory();
    for (const rows of this.#pluginRows) rows.drop?.();
  }

  /** Deletes the rows of an interrupted copy. Keeps a failed first turn, so that it can be resumed. */
  dropIncompleteCopy(): void {
    this.#clearCachedState();
    for (const table of ['messages', 'pieces']) this.runWriteStatement(`delete from ${table}`);
    for (const rows of this.#pluginRows) rows.deleteHistoryRows();
    this.runWriteStatement(`delete from turns where status in ${COMMITTED}`);
  }

  /** @param meta undefined if its table is lost @throws DamagedRow */
  #openTables(meta: Map<string, string> | undefined): void {
    if (!meta) throw new DamagedTable('its tables');
    this.#pluginTables.markTablesCreated(meta.keys());
    const profile = meta.get('profile');
    // Tables without a profile and without turns belong to no conversation, so this missing profile is not damage.
    if (profile === undefined && !this.hasRows('turns')) return;
    this.#profile = parseStored<ConversationProfile>('its profile', profile ?? '');
  }
}

/** @returns the bytes of the members that a caller can make long. */
function computeProfileSize({ title, metadata }: ConversationProfile): number {
  return encoder.encode(JSON.stringify([title, metadata])).length;
}
