import { isJson, splitJoinedData } from './frames.ts';

/** Where in the event format a stream stopped. */
export interface StreamEndPosition {
  /** Whether no event has begun since the last empty line. */
  isAtBoundary: boolean;
  /** The unfinished line as text; empty at the start of a line. */
  unfinishedLine: string;
  /** The data lines of the unfinished event, joined as the format says; undefined if it has none yet. */
  data: string | undefined;
}

/**
 * @returns the line ends that complete an event with complete data; undefined if the data is incomplete, or no event has
 * begun.
 */
export function createEventCompletion({
  isAtBoundary: atBoundary,
  unfinishedLine,
  data,
}: StreamEndPosition): string | undefined {
  if (atBoundary) return undefined;
  // The stream broke after the data line, before the empty line that ends the event, or within its CRLF. If the data is
  // complete, a line feed completes the event.
  if (unfinishedLine === '\r' || unfinishedLine === '') return isJsonText(data) ? '\n' : undefined;
  const line = unfinishedLine.replace(/\r$/, '');
  if (!line.startsWith('data:')) return undefined;
  const value = line.slice(line[5] === ' ' ? 6 : 5);
  return isJsonText(data === undefined ? value : `${data}\n${value}`) ? '\n\n' : undefined;
}

/**
 * Makes the end of an interrupted (cut) stream, so that every client notices the interruption. If the last event's data is
 * complete, the event is completed first. Incomplete data, which no client can parse, ends in a `ping`, which all of them ignore.
 *
 * @param errorEvent the lines of the `error` event, including its empty line
 * @returns the text to write after the stream
 */
export function createInterruptionEnding(end: StreamEndPosition, errorEvent: string): string {
  const completed = createEventCompletion(end);
  if (completed !== undefined) return completed + errorEvent;
  const { unfinishedLine: line, data } = end;
  const ping = data !== undefined || /^data(?![^:\r])/.test(line) ? 'event: ping\n\n' : '';
  return `${line === '' ? '' : '\n'}${ping}${errorEvent}`;
}

/** @returns whether the data is JSON, or that of several events without empty lines between them */
function isJsonText(data: string | undefined): boolean {
  return data !== undefined && splitJoinedData(data).every(isJson);
}
