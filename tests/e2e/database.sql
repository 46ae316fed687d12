-- Users to warm up with. Each time they are asked for, the server's log says from which id on.
create table users (id bigint primary key, profile jsonb not null);
insert into users select n, jsonb_build_object('name', 'user ' || n) from generate_series(1, 3000) n;
create function users_after(last bigint) returns setof users language plpgsql as $$
begin
  raise log 'users after %', coalesce(last, 0);
  return query select * from users where id > coalesce(last, 0) order by id;
end $$;
