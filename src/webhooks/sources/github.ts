import { defineWebhook, type IncomingEvent } from './define.ts';
import { verifyGithub } from './github-signature.ts';

interface Written {
  title?: unknown;
  body?: unknown;
  html_url?: unknown;
}

type GithubBody = Partial<
  Record<'action' | 'issue' | 'pull_request' | 'comment' | 'review' | 'discussion', Written & string>
>;

/** What is done to an issue without writing: labels put on by who gets the results must not come back as events. */
const WRITING = new Set<unknown>(['opened', 'edited', 'created', 'submitted', undefined]);

/** What somebody wrote: the comment, if that is what the event is about. */
function writtenIn({ body }: IncomingEvent<GithubBody>): Written | undefined {
  if (!WRITING.has(body.action)) return undefined;
  return body.comment ?? body.review ?? body.issue ?? body.pull_request ?? body.discussion;
}

/** Issues, pull requests, discussions, and comments on them, as GitHub sends them with the content type JSON. */
export const github = defineWebhook<GithubBody>({
  source: 'github',
  verify: verifyGithub,
  // What GitHub itself sends at the most.
  maxBodyBytes: 25 * 1024 * 1024,
  id: ({ headers }) => headers.get('x-github-delivery') ?? undefined,
  text: (event) => {
    const written = writtenIn(event);
    const parts = [written?.title, written?.body].filter((part) => typeof part === 'string' && part.trim() !== '');
    return parts.length === 0 ? undefined : parts.join('\n\n');
  },
  subject: (event) => {
    const url = writtenIn(event)?.html_url;
    return typeof url === 'string' ? url : undefined;
  },
  labels: [
    { name: 'bug', description: 'Something does not work as it should.' },
    { name: 'feature', description: 'Something is wanted that does not exist yet.' },
    { name: 'question', description: 'Somebody wants to know something.' },
    { name: 'documentation', description: 'The documentation is missing, wrong or unclear.' },
    { name: 'other', description: 'None of the others.' },
  ],
});
