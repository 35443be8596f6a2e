import type { RequestFieldDefinitions } from '../../../claude/request/field-definition.ts';
import type { ConversationPlugin } from '../../../conversations/object/hooks.ts';
import * as z from '../../../kit/http/zod.ts';
import { addDeliverUrlNote } from '../turn-events.ts';
import { createResumableRequestNote, resumeBackgroundTurn } from './resume-background.ts';

const flag = z.boolean({ error: 'Input should be a valid boolean' });

/** Background turns in a conversation's object: no caller waits for such a turn, and its end is sent to an address. */
export const backgroundPart: ConversationPlugin = {
  createHooks: (conversation) => ({
    storeTurnData({ request }, planned, row) {
      addDeliverUrlNote(row, request);
      return request.edgeOptions.background && !planned.run ? createResumableRequestNote(request) : undefined;
    },
    beginAgain: (row) => resumeBackgroundTurn(conversation, row),
  }),
};

/** The request parameters of a background turn. */
export const BACKGROUND_MEMBERS: RequestFieldDefinitions = {
  background: {
    schema: z.createOptionalField(
      flag,
      '`true` returns a 202 with the turn, which runs in the background. When it ends, successfully or not, Sluice sends the event `turn.ended`.',
    ),
    keeps: 'the response',
  },
  retry: {
    schema: z.createOptionalField(
      flag,
      '`true` repeats a background turn that a crash interrupted, although it may already have run. Each attempt is billed.',
    ),
  },
  deliver_url: {
    schema: z.createOptionalField(
      z.string({ error: 'Input should be a valid string' }),
      'The URL to which the signed event `turn.ended` of a background turn is sent. Its host must be in `DELIVER_HOSTS`. Default: `TURN_DELIVER_URL`.',
    ),
  },
};
