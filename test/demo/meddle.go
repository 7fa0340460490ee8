package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// tamperWith changes one thing in the restored pool by hand, through the API,
// so that anybody can see the comparison fail.
func (d *demo) tamperWith(ctx context.Context, pool string) error {
	api := idp.NewFromConfig(d.bed.Config(d.expects.secondary))
	var err error
	switch d.tamper {
	case "":
		return nil
	case "membership":
		err = d.removeMembership(ctx, api, pool)
	default:
		err = d.changeUser(ctx, api, pool)
	}
	if err != nil {
		return fmt.Errorf("tamper with one %s: %w", d.tamper, err)
	}
	d.out.line("one %s was changed by hand", d.tamper)
	return nil
}

func (d *demo) changeUser(ctx context.Context, api *idp.Client, pool string) error {
	page, err := api.ListUsers(ctx, &idp.ListUsersInput{UserPoolId: &pool, Limit: aws.Int32(60)})
	if err != nil {
		return err
	}
	for _, u := range page.Users {
		switch {
		case d.tamper == "flag" && u.Enabled:
			_, err := api.AdminDisableUser(ctx, &idp.AdminDisableUserInput{UserPoolId: &pool, Username: u.Username})
			return err
		case d.tamper == "attribute":
			_, err := api.AdminUpdateUserAttributes(ctx, &idp.AdminUpdateUserAttributesInput{
				UserPoolId: &pool, Username: u.Username,
				UserAttributes: []types.AttributeType{{Name: aws.String("name"), Value: aws.String("Somebody Else")}},
			})
			return err
		}
	}
	return errors.New("no user to change")
}

func (d *demo) removeMembership(ctx context.Context, api *idp.Client, pool string) error {
	for _, g := range d.seeded.Groups {
		members, err := api.ListUsersInGroup(ctx, &idp.ListUsersInGroupInput{UserPoolId: &pool, GroupName: &g.GroupName})
		if err != nil {
			return err
		}
		if len(members.Users) > 0 {
			_, err := api.AdminRemoveUserFromGroup(ctx, &idp.AdminRemoveUserFromGroupInput{
				UserPoolId: &pool, GroupName: &g.GroupName, Username: members.Users[0].Username,
			})
			return err
		}
	}
	return errors.New("no membership to remove")
}

// killFunctions ends the processes of every function as often as -kill asks,
// until it is told to stop: first as soon as it is seen at work, then after a
// second more each time. An execution survives it because each death costs one
// of the retries that a state has.
func (d *demo) killFunctions(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if d.kill == 0 {
		return cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		since, killed := map[string]time.Time{}, map[string]int{}
		for pause(ctx, 10*time.Millisecond) == nil {
			for _, f := range d.bed.Lambda().Functions() {
				switch {
				case d.bed.Lambda().Running(f.Name) == 0:
					delete(since, f.Name)
				case since[f.Name].IsZero():
					since[f.Name] = time.Now()
				}
				began, working := since[f.Name]
				n := killed[f.Name]
				if !working || n >= d.kill || time.Since(began) < time.Duration(n)*time.Second {
					continue
				}
				if d.bed.Lambda().Kill(f.Name) > 0 {
					killed[f.Name]++
					delete(since, f.Name)
					d.out.line("killed %s", f.Name)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}
