/** A server-sent event, as its lines say. */
export interface ServerSentEvent {
  id: string | undefined;
  event: string;
  data: string;
  /** The last comment between its lines. */
  remark: string | undefined;
}

/** @returns the number n of an event's id `<turn>-<n>`; undefined for another id */
export function parseEventNumber(id: string | undefined): number | undefined {
  const [, digits] = /-(\d+)$/.exec(id ?? '') ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * Reads an event stream that arrives in pieces of any size, in linear time. Lines end with LF or CRLF, as at this edge and at
 * the API. A comment counts at the end of its line: no empty line follows the comments at the end of a stream.
 *
 * @returns a function that takes the next piece
 */
export function createEventReader(
  onEvent: (event: ServerSentEvent) => void,
  onComment: (comment: string) => void,
): (piece: Uint8Array) => void {
  const decoder = new TextDecoder();
  // Join the parts of a line only when it ends, so that a long line is not copied for each part.
  let parts: string[] = [];
  let id: string | undefined;
  let event = '';
  let data: string[] = [];
  let remark: string | undefined;
  const parseEventLine = (line: string) => {
    if (line === '') {
      if (data.length > 0) onEvent({ id, event, data: data.join('\n'), remark });
      remark = undefined;
      id = undefined;
      event = '';
      data = [];
      return;
    }
    const [, field, value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === '') {
      remark = value;
      onComment(value);
    } else if (field === 'data') data.push(value);
    else if (field === 'event') event = value;
    else if (field === 'id') id = value;
  };
  return (piece) => {
    const text = decoder.decode(piece, { stream: true });
    parts.push(text);
    if (!text.includes('\n')) return;
    const lines = parts.join('').split('\n');
    parts = [lines.pop() ?? ''];
    for (const line of lines) parseEventLine(line.endsWith('\r') ? line.slice(0, -1) : line);
  };
}
