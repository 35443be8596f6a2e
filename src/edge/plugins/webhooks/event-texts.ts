import { hideFields, VISIBLE, type Visibility } from '../../kit/http/hidden-fields.ts';
import type { EventReport, EventResult, EventRow } from './webhooks-answers.schema.ts';

const ERROR: Visibility<NonNullable<EventRow['error']>> = { type: VISIBLE, message: { instead: '' }, status: VISIBLE };

const ROW: Visibility<EventRow> = {
  type: VISIBLE,
  event_id: VISIBLE,
  source: VISIBLE,
  state: VISIBLE,
  label: VISIBLE,
  conversation: VISIBLE,
  turn: VISIBLE,
  received_at: VISIBLE,
  attempts: VISIBLE,
  next_attempt_at: VISIBLE,
  error: ERROR,
};

const RESULT: Visibility<EventResult> = {
  label: VISIBLE,
  labels: VISIBLE,
  confidence: VISIBLE,
  fields: { instead: undefined },
  output: { instead: undefined },
  cached: VISIBLE,
  model: VISIBLE,
  classifier: VISIBLE,
  usage: VISIBLE,
  cost_usd: VISIBLE,
  classified_at: VISIBLE,
  agent: VISIBLE,
  conversation: VISIBLE,
  turn: VISIBLE,
  status: VISIBLE,
  paused: VISIBLE,
  stop_reason: VISIBLE,
  text: { instead: '' },
  error: { type: VISIBLE, message: { instead: '' } },
  answered_at: VISIBLE,
};

const { attempts: _, error: __, ...LISTED } = ROW;
const REPORT: Visibility<EventReport> = {
  ...LISTED,
  account: VISIBLE,
  subject: { instead: null },
  digest: VISIBLE,
  text: { instead: null },
  result: RESULT,
  attempts: { at: VISIBLE, ms: VISIBLE, error: ERROR },
};

/** @returns an event of the list without texts of users */
export function hideTextsOfRow(row: EventRow): EventRow {
  return hideFields(row, ROW);
}

/** @returns an event without texts of users */
export function hideTextsOfReport(report: EventReport): EventReport {
  return hideFields(report, REPORT);
}
