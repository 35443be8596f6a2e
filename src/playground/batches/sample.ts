import { TICKET_EXAMPLES } from '../classify/samples.ts';
import type { RowsUpload } from './upload.ts';

const rows = TICKET_EXAMPLES.split('\n').map((line) => [line.slice(line.indexOf(':') + 1).trim()]);

/** Twelve tickets, and what is asked of each. */
export const SAMPLE: { upload: RowsUpload; template: string } = {
  upload: { kind: 'rows', name: 'Twelve tickets', columns: ['ticket'], rows },
  template: 'Answer this customer in one sentence:\n\n{{ticket}}',
};
