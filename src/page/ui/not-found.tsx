interface NotFoundProps {
  title: string;
  /** Why there is nothing. */
  text: string;
  /** Where the link leads. Default: the start. */
  back?: { href: string; name: string };
}

/** Says that there is nothing at this address, and leads back. */
export function NotFound({ title, text, back = { href: '#/chat', name: 'Back to the start' } }: NotFoundProps) {
  return (
    <div class="page gate">
      <h1>{title}</h1>
      <p class="lead-more">{text}</p>
      <p>
        <a href={back.href}>{back.name}</a>
      </p>
    </div>
  );
}
