import type { ConversationPart } from '../../talk/conversations/parts.ts';
import { beginRun, resumeRun } from './begin-run.ts';

/** What runs have in a conversation's object: they begin where the edge calls tools, and go on after a crash. */
export const runsPart: ConversationPart = {
  open: (context) => ({
    run: ({ request }, planned, row) => beginRun(context, request, planned, row),
    resume: (crashed) => resumeRun(context, crashed),
  }),
};
