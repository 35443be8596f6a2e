/** Rewinds a history, and copies it into another conversation. */
import { Pacer } from '../../kit/async/in-steps.ts';
import { streamOfTexts } from '../../kit/http/stream-of-texts.ts';
import { itemTexts } from '../../kit/json/edit.ts';
import { rowsBetween } from '../../talk/history/message-json.ts';
import { answeredTools } from '../../talk/history/replayable-blocks.ts';
import { messageOf } from '../../talk/history/shown-messages.ts';
import { IMPORTED } from '../../talk/history/thinking.ts';
import { onOneLine } from '../../talk/history/views.ts';
import type { CallRow } from '../../talk/storage/call-rows.ts';
import { carriedLines, carryLine } from '../../talk/storage/carried-lines.ts';
import { DamagedRow, damageIn } from '../../talk/storage/damaged-row.ts';
import type { MessageRow, NewMessage, Profile, TurnRow } from '../../talk/storage/rows.ts';
import { BLANK_SUMMARY, type SummaryRow } from '../../talk/storage/summary-rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { committedTurns, countHistory, lastCommitted, turnAt, turnsOfRun } from '../../talk/storage/turn-queries.ts';

/**
 * Deletes the turn of a message and all later turns. An import is one turn: in it the deletion begins with the message
 * itself, or with the nearest question before it.
 *
 * @returns the changed members of the profile; undefined if there is no such message
 */
export function rewindTo(transcript: Transcript, id: string): Partial<Profile> | undefined {
  const found = transcript.messages.findMessage(id);
  const profile = transcript.profile;
  if (!found || !profile) return undefined;
  const { run = null } = turnAt(transcript, found.turn) ?? {};
  const turn = run ?? found.turn;
  const cut = run === null ? boundaryAt(transcript, found) : firstOfRun(transcript, run);
  return transcript.together(() => {
    transcript.deleteMessages('seq >= ?', cut);
    transcript.approvals.rewind(turn);
    transcript.summaries.rewind(cut);
    const nextTurn = Math.max(profile.nextTurn, transcript.newestTurn + 1);
    // Of a turn that was imported some messages may stay.
    const isLeft = transcript.figure('select turn from messages where seq < ? order by seq desc limit 1', cut) !== turn;
    transcript.leaveTurns(isLeft ? turn : turn + 1);
    // The rest of an import has lost its answer, so its number of tokens is not known any more.
    const rest = turnAt(transcript, turn);
    if (rest && rest.tokens !== null) transcript.changeTurn(rest, { tokens: null, frame: null });
    const { turns, messages } = countHistory(transcript);
    const { paused } = transcript.approvals;
    const sentFrom = profile.sentFrom >= cut ? 0 : profile.sentFrom;
    return { paused, turns, messages, nextTurn, sentFrom, ...choicesUpTo(profile, turn - 1, true) };
  });
}

/**
 * @returns how models were chosen up to a turn, if they were chosen
 * @param asksAgain whether what came behind it is left out
 * @param shift is added to the numbers of the turns
 */
function choicesUpTo(
  { choices }: Partial<Profile>,
  last: number,
  asksAgain: boolean | Profile['asksAgain'],
  shift = 0,
): Pick<Profile, 'choices' | 'asksAgain'> {
  if (!choices) return {};
  const kept = choices.filter(({ turn }) => turn <= last);
  const [first] = choices;
  const again = asksAgain === true ? first && { arm: first.by.arm } : asksAgain || undefined;
  return { choices: kept.map((one) => ({ ...one, turn: one.turn + shift })), ...(again && { asksAgain: again }) };
}

/** @returns the number of the first message to delete: the found one, or the nearest question before it. */
function boundaryAt(transcript: Transcript, found: { seq: number; turn: number }): number {
  let behind: MessageRow | undefined;
  for (const row of transcript.messages.history({ to: found.seq, backwards: true })) {
    if (row.turn !== found.turn) break;
    const isQuestion = behind?.role === 'user' && row.role === 'assistant';
    if (behind && isQuestion && answeredTools(messageOf(behind).content).length === 0) break;
    behind = row;
  }
  return behind?.seq ?? found.seq;
}

/** @returns the number of a run's first message. Its turn comes behind the row of the run. */
function firstOfRun(transcript: Transcript, run: number): number {
  return transcript.number('select min(seq) from messages where turn >= ?', run);
}

/**
 * Writes a conversation as lines for a copy (a fork, or a backup): the profile, `system`, `tools`, the turns with their
 * messages, and an end. `storeCopiedLines` reads them.
 *
 * @param at a message of the last turn to copy; without it all turns are copied
 * @param more members of the profile to copy too: a fork begins without the cost of the original
 * @returns undefined if there is no such message
 */
export function copyLines(
  transcript: Transcript,
  profile: Profile,
  at: string | undefined,
  more: Partial<Profile> = {},
): ReadableStream<Uint8Array> | undefined {
  const found = at === undefined ? undefined : transcript.messages.findMessage(at);
  if (at !== undefined && !found) return undefined;
  const { run = null } = found ? (turnAt(transcript, found.turn) ?? {}) : {};
  const last = run === null ? found?.turn : turnsOfRun(transcript, run).at(-1)?.seq;
  const until = last ?? lastCommitted(transcript);
  const lastMessage = transcript.number('select max(seq) from messages where turn <= ?', until);
  // A rewind during the copy makes the copy incomplete. Then the last line says so.
  const { version, carried } = profile;
  function* lines(): Generator<string> {
    const { account, title, metadata, model, maxTokens, prefix = null, agent = null, ...others } = profile;
    const { retentionSeconds, history, sentFrom } = others;
    const own = { account, title, metadata, model, maxTokens, prefix, agent, retentionSeconds, history, sentFrom };
    const copied = { ...own, ...choicesUpTo(profile, until, at !== undefined || profile.asksAgain), ...more };
    yield line('profile', JSON.stringify(copied));
    for (const [owner, text] of Object.entries(transcript.frozen)) {
      if (text !== undefined) yield line(owner, text);
    }
    if (agent) yield line('agent', transcript.frozenAgent);
    for (const { id, until, turn, model, place, text, tokens, cost, beganAt } of transcript.summaries.complete(
      lastMessage,
    ))
      yield line('summary', JSON.stringify({ id, until, turn, model, place, tokens, cost, beganAt }), text ?? '');
    if (carried) yield* carriedLines(transcript, 0);
    // Looking for the messages of each turn would read all numbers for each.
    const messages = rowsBetween(transcript, 0, lastMessage);
    let message = messages.next().value;
    for (const turn of committedTurns(transcript, until)) {
      yield* turnLines(transcript, turn);
      for (; message && message.turn <= turn.seq; message = messages.next().value) {
        const { seq, turn, id, role, createdAt, text, origin } = message;
        yield line('message', JSON.stringify({ seq, turn, id, role, createdAt, origin }), text);
      }
      if (carried) yield* carriedLines(transcript, turn.seq);
    }
    const isSame = transcript.profile?.version === version || turnAt(transcript, until) !== undefined;
    yield line(transcript.profile?.exists && isSame ? 'end' : 'changed', 'null');
  }
  return streamOfTexts(untilDamage(lines()));
}

/** Writes a conversation as the lines of a backup: with its cost, and with the call that it answers as a subagent. */
export function backupLines(transcript: Transcript, profile: Profile): ReadableStream<Uint8Array> | undefined {
  const { cost, inputTokens, outputTokens, parent } = profile;
  return copyLines(transcript, profile, undefined, { cost, inputTokens, outputTokens, ...(parent && { parent }) });
}

/** Yields lines up to damage, and then the line that tells of it. */
function* untilDamage(lines: Iterable<string>): Generator<string> {
  try {
    yield* lines;
  } catch (thrown) {
    const damage = damageIn(thrown);
    if (!damage) throw thrown;
    yield line('damaged', JSON.stringify(damage.what));
  }
}

/** Writes a turn, and its calls with their results. */
function* turnLines(transcript: Transcript, turn: TurnRow): Generator<string> {
  const own = { key: null, grant: null, settled: true, background: null, deliverUrl: null };
  yield line('turn', JSON.stringify({ ...turn, ...own }));
  const calls = turn.run === null ? [] : transcript.calls.of(turn.seq);
  if (calls.length === 0) return;
  const results = transcript.calls.results(turn.seq);
  const waiting = new Set(transcript.approvals.ofStep(turn.seq).map(({ toolUseId }) => toolUseId));
  for (const call of calls) {
    const copied = { ...call, event: null, isError: call.isError || call.endedAt === null };
    yield line('call', JSON.stringify(copied), results.get(call.id) ?? unansweredCall(call, waiting));
  }
}

/** @returns the copied result of a call that is still running or waits for approval. Only the original gets the real one. */
function unansweredCall({ id }: CallRow, waiting: ReadonlySet<string>): string {
  const content = waiting.has(id)
    ? 'This conversation was copied while the call waited for approval. It was not made here.'
    : 'This conversation was copied while the call was made.';
  return JSON.stringify({ type: 'tool_result', tool_use_id: id, content, is_error: true });
}

/** @returns when a call began and ended, even if it had not ended when it was copied. */
function timesOf({ beganAt, endedAt }: CallRow): { beganAt: number; endedAt: number } {
  const began = beganAt ?? endedAt ?? 0;
  return { beganAt: began, endedAt: endedAt ?? began };
}

function line(kind: string, ...texts: string[]): string {
  return `[${JSON.stringify(kind)},${onOneLine(texts.join(','))}]\n`;
}

/** @returns the row of a copied turn: members that only a newer release knows are left out. */
function copyOfTurn(copied: TurnRow, taken: number) {
  const { seq, id, requestId, hash, status, route, model, beganAt, endedAt, outcome, cost, tokens, frame } = copied;
  const { sentFrom, follows, events, run, calls = null, chosenBy = null } = copied;
  const ended = { status, endedAt, outcome, cost, tokens, frame, events, settled: true, calls, chosenBy };
  const began = { id, requestId, hash, route, model, beganAt, sentFrom, follows };
  return { ...began, ...ended, seq: taken + seq, run: run === null ? null : taken + run };
}

/**
 * Stores the lines of another conversation, those of a stretch in one transaction.
 *
 * @returns the copied profile; undefined if the copy is incomplete
 */
export async function storeCopiedLines(
  transcript: Transcript,
  bytes: ReadableStream<Uint8Array>,
): Promise<Partial<Profile> | undefined> {
  let copied: Partial<Profile> = {};
  let isOfOther = false;
  // The numbers of turns that failed here are not used again.
  let nextTurn = transcript.profile?.nextTurn ?? 1;
  const taken = nextTurn - 1;
  let nextMessage = 1;
  /** The turn that lines stand behind, and how many of them are carried. */
  const behind = { turn: 0, carried: 0 };
  let isCarrying = false;
  const summaries: SummaryRow[] = [];
  let isComplete = false;
  const decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });
  let parts: string[] = [];
  const pacer = new Pacer();
  let turns: Partial<TurnRow>[] = [];
  let messages: NewMessage[] = [];
  const write = () => {
    transcript.addTurns(turns);
    transcript.addMessages(messages);
    [turns, messages] = [[], []];
  };
  for await (const piece of bytes) {
    const pieces = decoder.decode(piece, { stream: true }).split('\n');
    const rest = pieces.pop() ?? '';
    for (const end of pieces) {
      const text = [...parts, end].join('');
      parts = [];
      const next = pacer.before(text.length);
      if (next !== undefined) {
        write();
        await next;
      }
      const [kind, first = 'null', second = ''] = itemTexts(text);
      if (kind === '"profile"') {
        const { account, ...rest } = JSON.parse(first) as Partial<Profile>;
        copied = rest;
        isOfOther = account !== transcript.profile?.account;
      } else if (kind === '"system"') transcript.freeze('system', first);
      else if (kind === '"tools"') transcript.freeze('tools', first);
      else if (kind === '"runs"') transcript.freeze('runs', first);
      else if (kind === '"agent"') transcript.freeze('agent', first);
      else if (kind === '"summary"') summaries.push({ ...(JSON.parse(first) as SummaryRow), text: second });
      else if (kind === '"turn"') {
        const turn = copyOfTurn(JSON.parse(first) as TurnRow, taken);
        turns.push(isOfOther ? { ...turn, route: IMPORTED } : turn);
        nextTurn = turn.seq + 1;
        Object.assign(behind, { turn: turn.seq, carried: 0 });
      } else if (kind === '"call"') {
        const call = JSON.parse(first) as CallRow;
        const copy = { ...call, turn: taken + call.turn };
        transcript.calls.end({ ...copy, ...timesOf(copy), result: second });
      } else if (kind === '"message"') {
        const message = JSON.parse(first) as Omit<NewMessage, 'text'>;
        messages.push({ ...message, turn: taken + message.turn, text: second });
        nextMessage = message.seq + 1;
      } else if (kind === '"damaged"') throw new DamagedRow(JSON.parse(first) as string);
      else if (kind === '"end"' || kind === '"changed"') isComplete = kind === '"end"';
      else if (kind !== undefined) {
        carryLine(transcript, behind.turn, behind.carried, text);
        behind.carried += 1;
        isCarrying = true;
      }
    }
    parts.push(rest);
  }
  write();
  if (!isComplete) return undefined;
  const { sentFrom = 0 } = copied;
  for (const copy of summaries) {
    const turn = taken + copy.turn;
    transcript.summaries.add({ ...BLANK_SUMMARY, ...copy, turn });
  }
  const given = summaries.at(-1)?.id;
  return {
    ...copied,
    ...choicesUpTo(copied, Number.POSITIVE_INFINITY, copied.asksAgain, taken),
    ...(given === undefined ? {} : { summaries: given }),
    ...(isCarrying && { carried: true }),
    ...countHistory(transcript),
    nextTurn,
    nextMessage,
    sentFrom: sentFrom >= nextMessage ? 0 : sentFrom,
  };
}
