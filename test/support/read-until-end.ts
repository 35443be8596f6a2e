/** Hears answers of an audited API, as the edge does, until their connections end in every way. */

import type { RequestOutcome } from '#edge/claude/outcome.ts';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { createResponseReport, createUnobserved, type ResponseReport } from '#edge/claude/usage/usage-report.ts';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { measureUnseenTimeAtCrash } from '#edge/conversations/turn/restore-turn.ts';
import { computeStoreDelayMs, TOUCH_MS } from '#edge/conversations/turn/store-schedule.ts';
import { encodeUtf8 } from '#edge/kit/http/bytes.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import type { StoredGrant } from '#edge/money/admission/price-outcome.ts';
import { type Answer, type ApiAction, CLOSE_NOTICE_MS, computeBill, type Draw, type End } from './audit.ts';

/** Milliseconds of silence after which the edge counts an answer as cut. */
const IDLE_MS = 120_000;

/** What the edge knows of an answer that did not end by itself, and what that is billed. */
/** How an answer was admitted, and whether its object may wake late. */
export interface AdmittedAnswer {
  grant: StoredGrant;
  isLate: boolean;
}

export interface ReadOutcome {
  /** What the edge books by. */
  report: ResponseReport & Pick<RequestOutcome, 'end' | 'stopped'>;
  billedNanodollars: number;
  /**
   * What of the bill the edge must book each time: without a second model that began behind the last event, and 0 for an answer
   * whose connection died before its first event and whose reader left. The guide names these exceptions.
   */
  mustBook: number;
}

/** @returns the answer without second models that begin behind a time */
function withoutLaterModels({ actions: deeds, ...answer }: Answer, at: number): Answer {
  const from = deeds.findIndex((deed) => deed.by !== undefined && deed.prompt !== undefined && deed.at > at);
  const kept = from < 0 ? deeds : deeds.map((deed, nth) => (nth >= from && deed.by ? { at: deed.at } : deed));
  return { ...answer, actions: kept };
}

/** Milliseconds of a dead connection after which its reader leaves. Within eight seconds he may have left a search that runs. */
const DEAD_CONNECTION_MS = 8_000;

/**
 * Reads what came of an answer, as a relay does (late, in looks) or a turn (at once), until one of the ends.
 *
 * @param admitted what it was granted, and whether an object that died may wake a minute later only
 */
export function readUntilEnd(answer: Answer, end: End, draw: Draw, admitted: AdmittedAnswer): ReadOutcome {
  const { actions: deeds, body } = answer;
  const last = deeds.at(-1)?.at ?? 0;
  // Its last events are those of an answer that ended by itself.
  const heardUntil = draw(0, last * 0.999);
  const events = deeds.filter(({ at, event }) => event !== undefined && at <= heardUntil);
  // Before the first event two seconds are usual: that short nobody can tell a silence from a start.
  const stall = end === 'silent' ? IDLE_MS : end === 'stalled' ? draw(events.length > 0 ? 700 : 2_100, 60_000) : 0;
  const closedAt = heardUntil + stall;
  const isLeft = end === 'left' || (end === 'stalled' && stall > DEAD_CONNECTION_MS);
  const ended = {
    end: isLeft ? 'client_gone' : end === 'silent' ? 'silent' : 'cut',
    stopped: end === 'stopped',
  } as const;
  if (body.stream === false) {
    // A whole answer is written to its end, whoever listens.
    const billed = computeBill(answer, last);
    return {
      report: { ...createResponseReport(undefined, 0), ...ended, seen: createUnobserved(closedAt) },
      billedNanodollars: billed,
      mustBook: billed,
    };
  }
  if (end === 'killed') return readKilledAnswer(answer, events, heardUntil, draw, admitted);
  const reader = new UsageReader({ sentAt: 0 });
  const lookMs = end === 'left' ? draw(1, 200) : 0;
  let since = 0;
  for (const { at, event = '' } of events) {
    const readAt = lookMs === 0 ? at : Math.min(closedAt, Math.ceil(at / lookMs) * lookMs);
    if (readAt - lookMs > since) since = readAt - lookMs;
    reader.addPiece(encodeUtf8(event), false, readAt, lookMs === 0 ? at : Math.min(since, at));
  }
  const report = reader.createReportAsOf(closedAt);
  const { seen = createUnobserved(closedAt) } = report;
  const closed = closedAt + CLOSE_NOTICE_MS;
  const isUnheard = isLeft && stall > 0 && events.length === 0;
  const certain = isUnheard ? 0 : computeBill(withoutLaterModels(answer, events.at(-1)?.at ?? 0), closed);
  return { report: { ...report, ...ended, seen }, billedNanodollars: computeBill(answer, closed), mustBook: certain };
}

const DELTA = 'event: content_block_delta';
const parseEventData = (event: string) => JSON.parse(event.slice(event.indexOf('data: ') + 6)) as JsonObject;

/** Stores what came as a conversation does, loses its object, and wakes it again. */
function readKilledAnswer(
  answer: Answer,
  events: readonly ApiAction[],
  diedAt: number,
  draw: Draw,
  { grant, isLate }: AdmittedAnswer,
): ReadOutcome {
  const reader = new UsageReader({ sentAt: 0 });
  const builder = new MessageBuilder();
  let storedAt = 0;
  let unseenMs = 0;
  let coversUntil = 20_000;
  let unstored: ApiAction[] = [];
  let due = Number.POSITIVE_INFINITY;
  let beganAt: number | undefined;
  const types = new Map<unknown, string>();
  const storeEvents = (now: number) => {
    for (const { at, event = '' } of unstored) {
      reader.addPiece(encodeUtf8(event), false, at);
      builder.addEventData(parseEventData(event));
      if (event.startsWith(DELTA)) beganAt ??= now;
    }
    unstored = [];
    due = Number.POSITIVE_INFINITY;
    storedAt = now;
    unseenMs = reader.createReportAsOf(now).seen?.unseen_ms ?? 0;
  };
  /** While a tool runs, the row says every few seconds that nothing has come. */
  const advanceTime = (until: number) => {
    if (due <= until) storeEvents(due);
    while (reader.createReportAsOf(storedAt).seen?.runs_tool && storedAt + TOUCH_MS <= until)
      storeEvents(storedAt + TOUCH_MS);
  };
  for (const deed of events) {
    const { at, event = '' } = deed;
    advanceTime(at);
    // The object says every fifteen seconds that it goes on.
    while (at > coversUntil - 5_000) coversUntil += 15_000;
    const soon = at + computeStoreDelayMs(storedAt - (beganAt ?? storedAt), grant.terms?.serverTools !== undefined);
    if (event.startsWith('event: ping')) {
      // It is shown at once, and stored with what comes next.
      unstored.push(deed);
      due = Math.min(due, soon);
      continue;
    }
    const { index, content_block } = parseEventData(event) as { index?: number; content_block?: { type: string } };
    if (content_block) types.set(index, content_block.type);
    unstored.push(deed);
    const isWords = ['text', 'thinking', 'redacted_thinking'].includes(types.get(index) ?? '');
    const mayWait = beganAt !== undefined && (event.startsWith(DELTA) || (isWords && index !== undefined));
    if (mayWait) due = Math.min(due, soon);
    else storeEvents(at);
  }
  advanceTime(diedAt);
  while (diedAt > coversUntil - 5_000) coversUntil += 15_000;
  const wokeAt = diedAt + draw(50, isLate && draw(0, 1) > 0.5 ? 60_000 : 1_000);
  const newest = events.length > 0 ? { at: storedAt, unseenMs } : undefined;
  const crash = measureUnseenTimeAtCrash(newest, { sentAt: 0, beganAt: 0, coversUntil, grant }, builder, wokeAt);
  const report = reader.createReportAsOf(storedAt);
  const times = { unseen_ms: crash.unseenMs, silent_ms: 0, lost_ms: crash.lostMs, quiet_ms: crash.lostMs };
  // The connection may be closed a little later than its object died.
  const closedAt = diedAt + draw(0, 500);
  const billed = computeBill(answer, closedAt + CLOSE_NOTICE_MS);
  return {
    report: { ...report, end: 'cut', seen: { ...(report.seen ?? createUnobserved(0)), ...times } },
    billedNanodollars: billed,
    mustBook: billed,
  };
}
