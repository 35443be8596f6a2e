import { stringOrUndefined } from '../../../kit/json/object.ts';
import { defineWebhook, type IncomingEvent } from './define-webhook.ts';
import { verifyGithub } from './signatures.ts';

type Written = Partial<Record<'title' | 'body' | 'html_url', unknown>>;

/** Who wrote a text, or whose action an event tells of. */
interface Actor {
  type?: unknown;
}

type GithubBody = Partial<
  Record<'action' | 'issue' | 'pull_request' | 'comment' | 'review' | 'discussion', Written & string & { user?: Actor }>
> & {
  /** Of an edit: the fields that it has changed, as they were before. */
  changes?: Partial<Record<'title' | 'body', unknown>>;
  sender?: Actor;
};

/** Actions in which somebody wrote something. Others are ignored, so that a label set by a receiver is not a new event. */
const WRITING = new Set<unknown>(['opened', 'edited', 'created', 'submitted', undefined]);

const isBot = (actor?: Actor | null) => actor?.type === 'Bot';

/** @returns what a person wrote: the comment if the event is about one, otherwise the issue, pull request or discussion */
function writtenIn({ body }: IncomingEvent<GithubBody>): Written | undefined {
  if (!WRITING.has(body.action)) return undefined;
  // An edit may change something else, such as the base of a pull request.
  if (body.action === 'edited' && body.changes?.title === undefined && body.changes?.body === undefined)
    return undefined;
  const written = body.comment ?? body.review ?? body.issue ?? body.pull_request ?? body.discussion;
  // A receiver that comments with the label would otherwise be answered with a label, for ever.
  return isBot(body.sender) || isBot(written?.user) ? undefined : written;
}

/** Issues, pull requests, discussions, and comments on them, as GitHub sends them with the content type JSON. */
export const github = defineWebhook<GithubBody>({
  source: 'github',
  verify: verifyGithub,
  // The most that GitHub sends.
  maxBodyBytes: 25 * 1024 * 1024,
  id: ({ headers }) => headers.get('x-github-delivery') ?? undefined,
  text: (event) => {
    const written = writtenIn(event);
    const parts = [written?.title, written?.body].filter((part) => typeof part === 'string' && part.trim() !== '');
    return parts.length === 0 ? undefined : parts.join('\n\n');
  },
  subject: (event) => stringOrUndefined(writtenIn(event)?.html_url),
  labels: [
    { name: 'bug', description: 'Something does not work as it should.' },
    { name: 'feature', description: 'Something is wanted that does not exist yet.' },
    { name: 'question', description: 'Somebody wants to know something.' },
    { name: 'documentation', description: 'The documentation is missing, wrong or unclear.' },
    { name: 'other', description: 'None of the others.' },
  ],
});
